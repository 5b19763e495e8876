"""Keys: read strictly, stored carefully, shown never."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import traceback
from pathlib import Path

import pytest
from eth_account import Account

from turbine_agent.exchange.turbine.clock import SystemClock
from turbine_agent.exchange.turbine.limits import SigningGuard
from turbine_agent.exchange.turbine.signing import api_secret
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.runtime import credentials as module
from turbine_agent.runtime.credentials import (
    API_KEY_ID,
    API_PRIVATE_KEY,
    PRIVATE_KEY,
    CredentialsError,
    EnvFile,
    check_storable,
    read_credentials,
    read_switches,
    store_api_key,
    take_credentials,
)
from turbine_agent.runtime.settings import Settings, to_signing_limits

WALLET_KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
API_SECRET = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
WALLET = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
GUARD = SigningGuard(to_signing_limits(Settings()), SystemClock())
CANARY = "canary5ec2e7" * 6


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def write(path: Path, text: str, mode: int = 0o600) -> None:
    path.write_bytes(text.encode())
    path.chmod(mode)


def environ(path: Path, **more: str) -> dict[str, str]:
    return {"TURBINE_ENV_FILE": str(path), **more}


def refusal(path: Path, **more: str) -> str:
    with pytest.raises(CredentialsError) as caught:
        read_credentials(environ(path, **more))
    text = str(caught.value)
    assert "\n  do: " in text
    assert "canary" not in "".join(traceback.format_exception(caught.value))
    return text


# -- where keys come from ----------------------------------------------------------------------------------


def test_keys_come_from_the_file_and_the_environment(path: Path) -> None:
    write(path, f"TURBINE_PRIVATE_KEY=0x{WALLET_KEY}\nTURBINE_API_KEY_ID=tk_1\n")
    found = read_credentials(
        environ(path, TURBINE_API_KEY_ID="tk_1", TURBINE_API_PRIVATE_KEY=API_SECRET, TURBINE_PRIVATE_KEY="")
    )
    assert found.api_key_id == "tk_1"
    assert found.origins == {PRIVATE_KEY: str(path), API_KEY_ID: str(path), API_PRIVATE_KEY: "environment"}
    assert found.signer(POLYGON, GUARD).naming.trader == WALLET
    assert found.minter().key_id == "tk_1"


def test_a_name_may_be_in_both_places_if_both_say_the_same(path: Path) -> None:
    write(path, f"TURBINE_PRIVATE_KEY=0x{WALLET_KEY.upper()}\n")
    found = read_credentials(environ(path, TURBINE_PRIVATE_KEY=WALLET_KEY))
    assert found.origins == {PRIVATE_KEY: str(path)}


def test_two_places_that_differ_are_refused_since_nobody_can_know_which_is_meant(path: Path) -> None:
    write(path, f"TURBINE_PRIVATE_KEY={WALLET_KEY}\n")
    text = refusal(path, TURBINE_PRIVATE_KEY="5" * 64)
    assert f"TURBINE_PRIVATE_KEY is set in {path} and in the environment, and the two differ" in text
    assert WALLET_KEY not in text
    assert "5" * 64 not in text


def test_without_a_file_and_without_variables_nothing_is_there_and_nothing_is_wrong(path: Path) -> None:
    found = read_credentials(environ(path))
    assert found.missing(*module.NAMES) == module.NAMES
    with pytest.raises(CredentialsError, match="TURBINE_PRIVATE_KEY is not set"):
        found.signer(POLYGON, GUARD)
    with pytest.raises(CredentialsError, match="TURBINE_API_KEY_ID and TURBINE_API_PRIVATE_KEY are not set"):
        found.minter()


def test_the_template_with_its_empty_values_is_no_set_of_keys(path: Path) -> None:
    template = Path(__file__).parents[3] / ".env.example"
    write(path, template.read_text(encoding="utf-8"))
    assert read_credentials(environ(path)).origins == {}


def test_a_file_that_others_may_read_is_refused_even_if_the_environment_has_everything(path: Path) -> None:
    write(path, "", mode=0o644)
    keys = {
        "TURBINE_PRIVATE_KEY": WALLET_KEY,
        "TURBINE_API_KEY_ID": "t",
        "TURBINE_API_PRIVATE_KEY": API_SECRET,
    }
    assert "others than its owner may read it" in refusal(path, **keys)


def test_the_file_of_the_working_directory_is_the_usual_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / ".env", f"TURBINE_PRIVATE_KEY={WALLET_KEY}\n")
    assert read_credentials({}).origins == {PRIVATE_KEY: ".env"}


@pytest.mark.parametrize(
    "line",
    [
        "TURBINE_API_KEY_ID=tk_1",
        "  export TURBINE_API_KEY_ID = tk_1  ",
        'TURBINE_API_KEY_ID="tk_1" # the key',
        "TURBINE_API_KEY_ID='tk_1'",
        "TURBINE_API_KEY_ID=tk_1 # the key\r",
        "\ufeffTURBINE_API_KEY_ID=tk_1",
    ],
)
def test_the_usual_ways_to_write_a_line_are_understood(path: Path, line: str) -> None:
    write(path, f"{line}\nTURBINE_API_PRIVATE_KEY={API_SECRET}\n")
    assert read_credentials(environ(path)).api_key_id == "tk_1"


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_file_that_others_may_open_is_refused(path: Path, mode: int) -> None:
    write(path, f"TURBINE_PRIVATE_KEY={CANARY}", mode)
    text = refusal(path)
    assert f"others than its owner may read it (mode {mode:04o})" in text
    assert f"chmod 600 {path}" in text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (CANARY, ":1: is neither NAME=VALUE nor a comment"),
        (f"# ok\n\n=={CANARY}", ":3: is neither NAME=VALUE nor a comment"),
        (f"1NAME={CANARY}", ":1: is neither NAME=VALUE nor a comment"),
        (f"A='{CANARY}", ":1: A has a quote that is not closed"),
        (f'A="{CANARY}" {CANARY}', ":1: A has something behind its closing quote"),
        (f"A={CANARY}\nB=1\nA={CANARY}", ":3: A stands twice; the first is in line 1"),
        (f"A={CANARY}\x00", ":1: A has something in it that is no text"),
        (f"TURBINE_PRIVATE_KEY={CANARY}", "TURBINE_PRIVATE_KEY ("),
        (f"TURBINE_API_KEY_ID=tk\nTURBINE_API_PRIVATE_KEY={CANARY}", "TURBINE_API_PRIVATE_KEY ("),
        (f"TURBINE_API_KEY_ID={CANARY} {CANARY}", "TURBINE_API_KEY_ID ("),
    ],
)
def test_what_breaks_a_rule_is_named_by_its_place_and_not_repeated(
    path: Path, text: str, problem: str
) -> None:
    write(path, text)
    assert problem in refusal(path)


def test_a_private_key_in_the_line_of_the_id_is_refused_and_not_shown(path: Path) -> None:
    write(path, f"TURBINE_API_KEY_ID=0x{WALLET_KEY}\nTURBINE_API_PRIVATE_KEY={API_SECRET}\n")
    text = refusal(path)
    assert "looks like a private key" in text
    assert WALLET_KEY not in text


@pytest.mark.parametrize(
    ("there", "absent", "value"),
    [(API_KEY_ID, API_PRIVATE_KEY, "tk_1"), (API_PRIVATE_KEY, API_KEY_ID, API_SECRET)],
)
def test_half_an_api_key_is_named(path: Path, there: str, absent: str, value: str) -> None:
    assert f"{there} is set (environment), {absent} is not" in refusal(path, **{there: value, "HOME": "/"})
    write(path, f"{there}={value}\n")
    assert f"{there} is set ({path}), {absent} is not" in refusal(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "is no regular file" in refusal(tmp_path)
    large = tmp_path / "large"
    write(large, "#" * 70_000)
    assert "more than 65536 bytes" in refusal(large)
    unreadable = tmp_path / "bytes"
    unreadable.write_bytes(b"A=\xff\xfe\n")
    unreadable.chmod(0o600)
    assert ":1: A has something in it that is no text" in refusal(unreadable)


# -- keystores ---------------------------------------------------------------------------------------------

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def stored() -> str:
    return json.dumps(Account.encrypt(bytes.fromhex(WALLET_KEY), PASSWORD, "scrypt", 2**10))


@pytest.fixture
def keystore(tmp_path: Path, stored: str) -> Path:
    place = tmp_path / "wallet.json"
    write(place, stored)
    return place


def password_file(tmp_path: Path, text: str = PASSWORD + "\n", mode: int = 0o600) -> Path:
    place = tmp_path / "password"
    write(place, text, mode)
    return place


def test_the_wallet_comes_from_a_keystore_and_its_password_from_a_file(path: Path, keystore: Path) -> None:
    for ending in ("", "\n", "\r\n"):
        words = environ(
            path,
            TURBINE_KEYSTORE=str(keystore),
            TURBINE_KEYSTORE_PASSWORD_FILE=str(password_file(path.parent, PASSWORD + ending)),
        )
        found = read_credentials(words)
        assert found.origins == {PRIVATE_KEY: f"keystore {keystore}"}
        assert found.signer(POLYGON, GUARD).naming.trader == WALLET
        assert found.warnings == ()


def test_the_file_of_secrets_may_name_the_keystore(path: Path, keystore: Path) -> None:
    write(
        path,
        f"TURBINE_KEYSTORE={keystore}\nTURBINE_KEYSTORE_PASSWORD_FILE={password_file(path.parent)}\n"
        f"TURBINE_API_KEY_ID=tk\nTURBINE_API_PRIVATE_KEY={API_SECRET}\n",
    )
    found = read_credentials(environ(path))
    assert found.missing(*module.NAMES) == ()
    assert found.signer(POLYGON, GUARD).naming.trader == WALLET


def test_a_person_is_asked_for_the_password_if_there_is_one(path: Path, keystore: Path) -> None:
    asked = []

    def ask(question: str) -> str:
        asked.append(question)
        return PASSWORD

    found = read_credentials(environ(path, TURBINE_KEYSTORE=str(keystore)), ask)
    assert found.wallet is not None
    assert asked == [f"password of {keystore}: "]
    assert "there is no terminal to ask for it" in refusal(path, TURBINE_KEYSTORE=str(keystore))


def test_a_password_in_the_environment_works_and_is_complained_about(path: Path, keystore: Path) -> None:
    found = read_credentials(
        environ(path, TURBINE_KEYSTORE=str(keystore), TURBINE_KEYSTORE_PASSWORD=PASSWORD)
    )
    assert found.wallet is not None
    (warning,) = found.warnings
    assert "TURBINE_KEYSTORE_PASSWORD_FILE" in warning
    assert PASSWORD not in warning


def test_a_keystore_is_not_opened_for_who_needs_no_wallet(path: Path, keystore: Path) -> None:
    found = read_credentials(environ(path, TURBINE_KEYSTORE=str(keystore)), with_wallet=False)
    assert found.wallet is None
    assert PRIVATE_KEY not in found.origins


def test_what_is_wrong_with_a_keystore_or_its_password_is_named(path: Path, keystore: Path) -> None:
    good = {
        "TURBINE_KEYSTORE": str(keystore),
        "TURBINE_KEYSTORE_PASSWORD_FILE": str(password_file(path.parent)),
    }
    wrong = good | {"TURBINE_KEYSTORE_PASSWORD_FILE": str(path.parent / "none")}
    assert f"{path.parent / 'none'}: is not there" in refusal(path, **wrong)
    wrong = good | {"TURBINE_KEYSTORE": str(path.parent / "none")}
    text = refusal(path, **wrong)
    assert f"{path.parent / 'none'}: is not there" in text
    assert "name another with TURBINE_KEYSTORE" in text
    for mode in (0o640, 0o604):
        keystore.chmod(mode)
        assert f"chmod 600 {keystore}" in refusal(path, **good)
        keystore.chmod(0o600)
        password_file(path.parent, mode=mode)
        assert f"chmod 600 {path.parent / 'password'}" in refusal(path, **good)
        password_file(path.parent)
    password_file(path.parent, "canary\n")
    assert f"{keystore}: the password is wrong" in refusal(path, **good)
    password_file(path.parent).write_bytes(b"\xff\xfe")
    assert "is no text in UTF-8" in refusal(path, **good)
    write(keystore, "{}")
    password_file(path.parent)
    assert f"{keystore}: " in refusal(path, **good)


def test_a_key_that_lies_open_beside_the_keystore_is_refused(path: Path, keystore: Path) -> None:
    text = refusal(path, TURBINE_KEYSTORE=str(keystore), TURBINE_PRIVATE_KEY=WALLET_KEY)
    assert "are two wallets' keys" in text
    assert WALLET_KEY not in text


# -- a signer elsewhere ------------------------------------------------------------------------------------


def test_with_a_signer_elsewhere_no_wallet_may_be_here(path: Path, keystore: Path) -> None:
    socket = str(path.parent / "signer")
    text = refusal(path, TURBINE_SIGNER_SOCKET=socket, TURBINE_PRIVATE_KEY=WALLET_KEY)
    assert "so another process has the wallet's key, and TURBINE_PRIVATE_KEY (environment) gives it" in text
    text = refusal(path, TURBINE_SIGNER_SOCKET=socket, TURBINE_KEYSTORE=str(keystore))
    assert "TURBINE_KEYSTORE (environment) gives it" in text
    write(path, f"TURBINE_PRIVATE_KEY={WALLET_KEY}\n")
    assert f"TURBINE_PRIVATE_KEY ({path}) gives it" in refusal(path, TURBINE_SIGNER_SOCKET=socket)


def test_a_signer_that_is_not_there_is_named(path: Path) -> None:
    socket = path.parent / "signer"
    found = read_credentials(environ(path, TURBINE_SIGNER_SOCKET=str(socket)))
    found.demand(PRIVATE_KEY)
    assert found.described(PRIVATE_KEY) == f"{PRIVATE_KEY} from the signer at {socket}"
    with pytest.raises(
        CredentialsError, match=f"the signer at {socket} cannot be used: .*No such file"
    ) as caught:
        found.signer(POLYGON, GUARD)
    assert "start `turbine-agent signer`" in caught.value.remedy


# -- the environment afterwards ------------------------------------------------------------------------------


def test_what_was_read_is_in_no_environment_any_more(path: Path) -> None:
    """In a process of its own: it looks at what the system tells of it, and at what a child inherits."""
    code = (
        "import os, subprocess, sys\n"
        "from turbine_agent.runtime.credentials import take_credentials\n"
        "found = take_credentials()\n"
        "assert found.wallet is not None and found.api_secret is not None\n"
        "open(sys.argv[1], 'wb').write(open('/proc/self/environ', 'rb').read()\n"
        "    + subprocess.run(['env'], capture_output=True).stdout + repr(dict(os.environ)).encode())\n"
    )
    shown = path.parent / "shown"
    keys = {
        "TURBINE_PRIVATE_KEY": WALLET_KEY,
        "TURBINE_API_KEY_ID": "tk",
        "TURBINE_API_PRIVATE_KEY": API_SECRET,
        "TURBINE_KEYSTORE_PASSWORD": CANARY,
    }
    keys |= {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    subprocess.run([sys.executable, "-c", code, str(shown)], env=environ(path, **keys, LAST="1"), check=True)
    seen = shown.read_text()
    assert "LAST=1" in seen
    for secret in (WALLET_KEY, API_SECRET, CANARY):
        assert secret not in seen


def test_a_refused_environment_is_emptied_as_well(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TURBINE_ENV_FILE", str(path))
    monkeypatch.setenv("TURBINE_PRIVATE_KEY", CANARY)
    hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook)
    try:
        with pytest.raises(CredentialsError):
            take_credentials()
    finally:
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    assert "TURBINE_PRIVATE_KEY" not in os.environ


# -- the two switches --------------------------------------------------------------------------------------


def test_the_switches_come_from_the_file_and_the_environment(path: Path) -> None:
    write(path, "TRADING_ENABLED=true\nDRY_RUN=\n")
    assert read_switches(environ(path)) == {"TRADING_ENABLED": "true", "DRY_RUN": ""}
    assert read_switches(environ(path, TRADING_ENABLED="true")) == {"TRADING_ENABLED": "true", "DRY_RUN": ""}
    with pytest.raises(CredentialsError, match=r"TRADING_ENABLED is set in .* and the two differ"):
        read_switches(environ(path, TRADING_ENABLED="false"))
    with pytest.raises(CredentialsError, match=r"DRY_RUN is set in .* and the two differ"):
        read_switches(environ(path, DRY_RUN="true"))
    path.unlink()
    assert read_switches(environ(path, DRY_RUN="true")) == {"DRY_RUN": "true"}


# -- storing -----------------------------------------------------------------------------------------------

STORED = f"TURBINE_API_KEY_ID=tk_new\nTURBINE_API_PRIVATE_KEY={API_SECRET}\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", STORED),
        ("# mine", f"# mine\n{STORED}"),
        (
            f"#a\r\nexport {API_KEY_ID}='old' # id\r\n\r\nX= 1\r\n{API_PRIVATE_KEY}={CANARY}\r\nY=2",
            f"#a\r\nexport {API_KEY_ID}=tk_new # id\r\n\r\nX= 1\r\n{API_PRIVATE_KEY}={API_SECRET}\r\nY=2",
        ),
        (
            "TURBINE_API_PRIVATE_KEY=\nTURBINE_API_KEY_ID=# to come\nLAST='ü'\n",
            f"TURBINE_API_PRIVATE_KEY={API_SECRET}\nTURBINE_API_KEY_ID=tk_new # to come\nLAST='ü'\n",
        ),
    ],
)
def test_storing_replaces_in_place_and_keeps_every_other_byte(path: Path, before: str, after: str) -> None:
    write(path, before)
    store_api_key(path, "tk_new", api_secret(API_SECRET))
    assert path.read_bytes() == after.encode()
    store_api_key(path, "tk_new", api_secret(API_SECRET))
    assert path.read_bytes() == after.encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [".env"]
    assert read_credentials(environ(path)).api_key_id == "tk_new"


def test_a_new_file_is_for_its_owner_alone(path: Path) -> None:
    store_api_key(path, "tk_new", api_secret(API_SECRET))
    assert path.read_text() == STORED
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "keys"
    write(target, "A=1\n")
    path.symlink_to(target)
    store_api_key(path, "tk_new", api_secret(API_SECRET))
    assert path.is_symlink()
    assert target.read_text() == f"A=1\n{STORED}"


def test_storing_into_a_file_that_breaks_the_rules_leaves_it_as_it_was(path: Path) -> None:
    for text, mode in ((f"A=1\nA={CANARY}\n", 0o600), ("A=1\n", 0o644)):
        write(path, text, mode)
        with pytest.raises(CredentialsError):
            store_api_key(path, "tk", api_secret(API_SECRET))
        with pytest.raises(CredentialsError):
            check_storable(path)
        assert path.read_text() == text
        assert [entry.name for entry in path.parent.iterdir()] == [".env"]


def test_an_id_that_could_not_be_read_back_is_not_stored(path: Path) -> None:
    for name in ("", "a b", "a\nB=1", "a'b", "a#b", "x" * 300):
        with pytest.raises(CredentialsError):
            store_api_key(path, name, api_secret(API_SECRET))
    assert not path.exists()


def test_a_trial_changes_nothing(path: Path) -> None:
    check_storable(path)
    assert list(path.parent.iterdir()) == []
    with pytest.raises(CredentialsError, match="cannot be written"):
        check_storable(path.parent / "missing" / ".env")


def test_a_failed_replacement_leaves_the_old_file_and_no_other(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, "A=1\n")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CredentialsError, match="No space left"):
        store_api_key(path, "tk", api_secret(API_SECRET))
    assert path.read_text() == "A=1\n"
    assert [entry.name for entry in path.parent.iterdir()] == [".env"]


# -- showing -----------------------------------------------------------------------------------------------


def test_nothing_that_is_printed_shows_a_secret(path: Path) -> None:
    write(
        path,
        f"TURBINE_PRIVATE_KEY={WALLET_KEY}\nTURBINE_API_KEY_ID=tk_1\nTURBINE_API_PRIVATE_KEY={API_SECRET}\nA={CANARY}",
    )
    found = read_credentials(environ(path))
    file = EnvFile.read(path)
    things: list[object] = [found, found.wallet, found.api_secret, found.origins, file]
    things += [file._spans, found.signer(POLYGON, GUARD), found.minter()]
    for thing in things:
        for text in (repr(thing), str(thing), f"{thing}", repr([thing]), repr({"x": thing})):
            for secret in (WALLET_KEY, API_SECRET, CANARY):
                assert secret not in text
                assert str(bytes.fromhex(secret) if secret != CANARY else CANARY)[2:20] not in text
