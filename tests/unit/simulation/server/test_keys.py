"""API keys and bearer tokens: who is let in, and why not."""

from __future__ import annotations

import pytest
from nacl.signing import SigningKey
from tests.unit.simulation.server.desk import Wallet

from turbine_agent.protocol import tokens
from turbine_agent.protocol.eip712 import personal_digest, registration_text
from turbine_agent.runtime.serve import KeyArithmetic
from turbine_agent.simulation.server.keys import Keys
from turbine_agent.simulation.server.refusals import RefusedError

NOW_S = 1_769_904_000
OWNER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
REGISTRATION = (
    "0x76b1f9357711999c29e673366088f6b74d587af62a4b99271e2f907a305cb956"
    "1314e04ea8b3e55b208a1a4e04f5c04d752edd541fa44a8a99bb7e5c74e435f11c"
)
"""What the official client sends for that wallet."""


def keys(seed: int = 1) -> Keys:
    return Keys(seed, KeyArithmetic())


def registered(seed: int = 1) -> tuple[Keys, Wallet]:
    made, wallet = keys(seed), Wallet()
    wallet.key_id, secret = made.register(
        wallet.address, wallet.sign(personal_digest(registration_text(wallet.address)))
    )
    wallet.api_key = SigningKey(bytes.fromhex(secret))
    return made, wallet


def refusal_of(made: Keys, header: str | None, now_s: int = NOW_S) -> str:
    with pytest.raises(RefusedError) as caught:
        made.wallet_of(header, now_s)
    assert caught.value.status == 401
    return caught.value.text


def test_the_official_clients_registration_is_accepted_in_any_spelling_of_the_address() -> None:
    for address in (OWNER, OWNER.lower()):
        key_id, secret = keys().register(address, REGISTRATION)
        assert key_id == "tk_" + OWNER[2:].lower()
        assert len(bytes.fromhex(secret)) == 32


def test_a_wallet_registers_once() -> None:
    made = keys()
    key_id, _ = made.register(OWNER, REGISTRATION)
    with pytest.raises(RefusedError) as caught:
        made.register(OWNER, REGISTRATION)
    assert (caught.value.status, caught.value.extra) == (409, {"api_key_id": key_id})


@pytest.mark.parametrize(
    ("address", "signature", "status"),
    [
        ("0x12", REGISTRATION, 400),
        ("0x" + "11" * 20, REGISTRATION, 401),
        (OWNER, REGISTRATION[:-2], 401),
        (OWNER, REGISTRATION[:-2] + "1b", 401),
        (OWNER, REGISTRATION[:-2] + "01", 401),
        (OWNER, "zz" * 65, 401),
        (OWNER, "0x" + "00" * 65, 401),
    ],
)
def test_nobody_registers_a_wallet_of_somebody_else(address: str, signature: str, status: int) -> None:
    with pytest.raises(RefusedError) as caught:
        keys().register(address, signature)
    assert caught.value.status == status


def test_the_other_half_of_signatures_is_refused_as_contracts_do() -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    digits = REGISTRATION[2:]
    flipped = digits[:64] + f"{order - int(digits[64:128], 16):064x}" + "1b"
    with pytest.raises(RefusedError, match="invalid signature"):
        keys().register(OWNER, flipped)


def test_a_token_is_good_for_five_minutes_around_now() -> None:
    made, wallet = registered()
    for skew in (-300, 0, 300):
        assert made.wallet_of(wallet.token(NOW_S + skew), NOW_S) == wallet.address
    for skew in (-301, 301):
        assert refusal_of(made, wallet.token(NOW_S + skew)) == "token expired"


def test_a_token_needs_its_keys_signature_over_the_bytes_that_were_sent() -> None:
    made, wallet = registered()
    other = SigningKey(bytes([9]) * 32)
    payload = tokens.payload(wallet.key_id, "00", NOW_S)
    forged = tokens.BEARER + tokens.join(payload, bytes(other.sign(payload).signature))
    assert refusal_of(made, forged) == "invalid token signature"
    free = f'{{ "ts": {NOW_S}, "n": "00", "kid": "{wallet.key_id}" }}'.encode()
    spelt = tokens.BEARER + tokens.join(free, bytes(wallet.api_key.sign(free).signature))
    assert made.wallet_of(spelt, NOW_S) == wallet.address


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (None, "missing bearer token"),
        ("", "missing bearer token"),
        ("Basic abc", "missing bearer token"),
        ("Bearer ", "invalid token format"),
        ("Bearer a.b.c", "invalid token format"),
        ("Bearer " + "a" * 5_000, "invalid token format"),
    ],
)
def test_what_is_no_token_is_named(header: str | None, why: str) -> None:
    assert refusal_of(keys(), header) == why


@pytest.mark.parametrize("key_id", ["tk_test_0001", "", "tk_", "tk_" + "zz" * 20])
def test_an_unknown_key_is_refused(key_id: str) -> None:
    made, wallet = registered()
    wallet.key_id = key_id
    assert refusal_of(made, wallet.token(NOW_S)) == "unknown API key"


def test_credentials_survive_a_restart_with_the_same_seed_and_no_other() -> None:
    _, wallet = registered(seed=1)
    assert keys(1).wallet_of(wallet.token(NOW_S), NOW_S) == wallet.address
    assert refusal_of(keys(2), wallet.token(NOW_S)) == "invalid token signature"
