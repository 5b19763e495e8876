"""Keystores as others write them open here, and everything else says what is wrong with it."""

from __future__ import annotations

import copy
import json
from typing import Any, Literal

import pytest
from eth_account import Account

from turbine_agent.runtime.keystore import KeystoreError, open_keystore

KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
Kdf = Literal["scrypt", "pbkdf2"]
PASSWORD = "tr0ub4dor & 3 \u2013 pässword"


def made(kdf: Kdf, iterations: int, password: str = PASSWORD) -> dict[str, Any]:
    """A keystore from the library that the exchange's official client uses."""
    store: dict[str, Any] = json.loads(
        json.dumps(Account.encrypt(bytes.fromhex(KEY), password, kdf, iterations))
    )
    return store


@pytest.fixture(scope="module")
def store() -> dict[str, Any]:
    return made("scrypt", 2**10)


def opened(store: dict[str, Any], password: str = PASSWORD) -> str:
    return open_keystore(json.dumps(store).encode(), password.encode()).reveal().hex()


def refusal(store: object, password: str = PASSWORD) -> str:
    with pytest.raises(KeystoreError) as caught:
        open_keystore(json.dumps(store).encode(), password.encode())
    text = str(caught.value)
    assert KEY not in text
    assert password not in text
    return text


def changed(store: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    copied = copy.deepcopy(store)
    at = copied
    *above, last = path.split(".")
    for name in above:
        at = at[name]
    at[last] = value
    return copied


@pytest.mark.parametrize(("kdf", "iterations"), [("scrypt", 2**12), ("pbkdf2", 1_000)])
@pytest.mark.parametrize("password", [PASSWORD, "", "x" * 200])
def test_what_the_official_library_writes_opens(kdf: Kdf, iterations: int, password: str) -> None:
    assert opened(made(kdf, iterations, password), password) == KEY


def test_the_usual_cost_of_the_library_is_within_the_bounds() -> None:
    """Made once by the library with its own defaults, which takes it seconds."""
    usual = {
        "address": "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "647e005b8012a1abf97a9334fafbe541"},
            "ciphertext": "1434dd02c9eab9fbad7ab310da16f36e5bb776f86a16f8f549224052c298e24b",
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32,
                "n": 262_144,
                "r": 8,
                "p": 1,
                "salt": "de8e3ad42699d40a874e3d4411b9da4e",
            },
            "mac": "8f3d9ddc3021f4f5af838725b34f49466e8716ffc86b201e59c92b5e4ffd7bdf",
        },
        "id": "59db9aa5-fbb9-4b25-bae9-bb6f363c456b",
        "version": 3,
    }
    assert opened(usual) == KEY


def test_the_other_spellings_of_other_tools_open(store: dict[str, Any]) -> None:
    older = copy.deepcopy(store)
    older["Crypto"] = older.pop("crypto")
    older["address"] = "0x" + older["address"].upper().removeprefix("0X")
    older["id"] = "a" * 36
    older["x-other"] = {"anything": [1, 2]}
    assert opened(older) == KEY
    without = {name: value for name, value in store.items() if name != "address"}
    assert opened(without) == KEY


def test_a_wrong_password_is_called_that(store: dict[str, Any]) -> None:
    for wrong in ("", PASSWORD + " ", PASSWORD.upper()):
        with pytest.raises(KeystoreError, match="the password is wrong"):
            opened(store, wrong)


def test_a_keystore_for_another_address_is_refused(store: dict[str, Any]) -> None:
    text = refusal(changed(store, "address", "00" * 20))
    assert "holds the key of 0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266" in text


def test_a_changed_ciphertext_or_mac_does_not_open(store: dict[str, Any]) -> None:
    cipher = store["crypto"]["ciphertext"]
    flipped = f"{int(cipher[:2], 16) ^ 1:02x}{cipher[2:]}"
    assert "the password is wrong (or the file is damaged)" in refusal(
        changed(store, "crypto.ciphertext", flipped)
    )
    assert "the password is wrong" in refusal(changed(store, "crypto.mac", "00" * 32))
    assert "the password is wrong" in refusal(changed(store, "crypto.mac", ""))


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("version", 1, "no keystore of version 3"),
        ("version", "3", "Expected `int`"),
        ("crypto", None, "no keystore of version 3"),
        ("crypto.cipher", "aes-256-gcm", "cipher is not aes-128-ctr"),
        ("crypto.ciphertext", "ab" * 31, "has 32 bytes, this one has 31"),
        ("crypto.ciphertext", "zz" * 32, "$.crypto.ciphertext"),
        ("crypto.cipherparams.iv", "abc", "$.crypto.cipherparams.iv"),
        ("crypto.kdf", "argon2", "neither scrypt nor pbkdf2"),
        ("crypto.kdf", "pbkdf2", "not that of a keystore"),
        ("crypto.kdfparams.dklen", 16, "derived key has 16 bytes"),
        ("crypto.kdfparams.n", 1_000, "make no sense"),
        ("crypto.kdfparams.n", 0, "make no sense"),
        ("crypto.kdfparams.p", -1, "make no sense"),
        ("crypto.kdfparams.n", 2**40, "more memory or time"),
        ("crypto.kdfparams.p", 2**40, "more memory or time"),
        ("crypto.kdfparams.r", 2**60, "more memory or time"),
    ],
)
def test_what_is_wrong_is_named(store: dict[str, Any], path: str, value: object, problem: str) -> None:
    assert problem in refusal(changed(store, path, value))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"null", KEY.encode(), b'{"version":3}'])
def test_what_is_no_keystore_is_refused(data: bytes) -> None:
    with pytest.raises(KeystoreError) as caught:
        open_keystore(data, b"x")
    assert KEY[:16] not in str(caught.value)
