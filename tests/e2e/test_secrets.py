"""Secrets in real processes: the signer apart from who trades, and a canary sought in all they leave."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from eth_account import Account

from turbine_agent.cli.common import ExitCode
from turbine_agent.cli.main import entry
from turbine_agent.exchange.turbine.signing import Permit, SigningRefusedError
from turbine_agent.model.ids import MarketId
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.runtime.signer_process import REST_S, RemoteSigner

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120
BARE = {"PATH": os.environ.get("PATH", os.defpath), "NO_PROXY": "127.0.0.1"}
BARE |= {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
WALLET = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
WALLET_KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
OTHER_KEY = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
API_SECRET = "77a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f"
PASSWORD = "canary, not a parrot"
PROBE_FITS = (
    "--set=risk.order_ttl_s=120",
    "--set=risk.max_order_units=100",
    "--set=logging.level=DEBUG",
)
"""The probe's BUY is of 83 shares and lives for two minutes: more than the settings let the agent do."""

Done = subprocess.CompletedProcess[str]


def run(*arguments: str, environ: dict[str, str], cwd: Path = ROOT) -> Done:
    return subprocess.run(
        [sys.executable, "-m", "turbine_agent", *arguments],
        cwd=cwd,
        env=BARE | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


class Process:
    """A process that has said its first line."""

    def __init__(self, *arguments: str, environ: dict[str, str] | None = None) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "turbine_agent", *arguments],
            cwd=ROOT,
            env=BARE | (environ or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdout is not None
        self.line = self.popen.stdout.readline()
        if not self.line:
            pytest.fail(f"it ended at once: {self.end()}")

    def end(self) -> str:
        """Tell it to leave; all that it has written."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        out, err = self.popen.communicate(timeout=TIMEOUT_S)
        return self.line + out + err

    def seen_by_the_system(self) -> str:
        """Its environment and its command line, as far as we may look."""
        found = ""
        for name in ("environ", "cmdline"):
            try:
                found += Path(f"/proc/{self.popen.pid}/{name}").read_text()
            except PermissionError:
                continue  # better still
        return found


class Home:
    """Files of an owner: a keystore, its password, a file of API keys."""

    def __init__(self, folder: Path, key: str = WALLET_KEY) -> None:
        self.folder = folder
        self.socket = folder / "signer"
        self.log = folder / "signer.log"
        trader = Account.from_key(bytes.fromhex(key)).address.lower()
        self.latch = folder / "data" / trader / "live" / "latch.json"
        """Where the agent's is."""
        self.keys = self.private("keys", "")
        keystore = json.dumps(Account.encrypt(bytes.fromhex(key), PASSWORD, "scrypt", 2**10))
        self.wallet = {
            "TURBINE_ENV_FILE": str(folder / "none"),
            "TURBINE_DATA_DIR": str(folder / "data"),
            "TURBINE_KEYSTORE": str(self.private("wallet.json", keystore)),
            "TURBINE_KEYSTORE_PASSWORD_FILE": str(self.private("password", PASSWORD + "\n")),
        }
        self.trader = {"TURBINE_ENV_FILE": str(self.keys), "TURBINE_SIGNER_SOCKET": str(self.socket)}

    def private(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    def signer(self, *more: str, environ: dict[str, str] | None = None) -> Process:
        return Process("signer", "--socket", str(self.socket), *more, environ=environ or self.wallet)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture(scope="module")
def exchange() -> Iterator[str]:
    served = Process("exchange", "--port", "0", "--seed", "3", "--elapsed", "20", "--old-markets", "3")
    found = re.search(r"http://\S+", served.line)
    assert found
    yield found[0]
    served.end()


# -- a wallet in another process ---------------------------------------------------------------------------


def test_orders_are_signed_by_the_other_process_and_no_canary_is_in_anything_that_is_left(
    exchange: str, home: Home
) -> None:
    signer = home.signer(*PROBE_FITS, "--allow", "registration", f"--set=logging.file_path={home.log}")
    try:
        assert signer.line == (
            f"signing for {WALLET} on chain 137 at {home.socket}, until {home.latch} appears\n"
        )
        registered = run("probe", "--host", exchange, "--auto-register", environ=home.trader)
        assert registered.returncode == 0, registered.stdout + registered.stderr
        traded = run("probe", "--host", exchange, "--trade-test", environ=home.trader)
        assert traded.returncode == 0, traded.stdout + traded.stderr
        assert "BUY and SELL: placed, verified open, cancelled, verified gone" in traded.stdout
        left = signer.seen_by_the_system()
    finally:
        left_behind = signer.end()
    assert signer.popen.returncode == 0
    assert not home.socket.exists()
    assert stat.S_IMODE(home.log.stat().st_mode) == 0o600
    assert [json.loads(line)["logger"] for line in home.log.read_text().splitlines()].count("signer") >= 4
    api_secret = home.keys.read_text().strip().rpartition("=")[2]
    assert len(api_secret) == 64
    left += left_behind + home.log.read_text()
    for done in (registered, traded):
        left += done.stdout + done.stderr
    no_canary(left, WALLET_KEY, api_secret, PASSWORD)


def no_canary(text: str, *secrets: str) -> None:
    for secret in secrets:
        assert secret not in text
        assert secret[:20].lower() not in text.lower()
    assert "eyJ" not in text, "a bearer token"


def test_what_it_was_not_told_to_sign_it_does_not_sign(home: Home) -> None:
    signer = home.signer("--allow", "registration")
    try:
        with closing(RemoteSigner(home.socket, POLYGON, deadline_s=30.0)) as ours:
            only = "permit is not allowed here; allowed: order, redemption, registration"
            with pytest.raises(SigningRefusedError, match=only):
                ours.sign_permit(Permit(spender=POLYGON.settlement, value=1, nonce=0, deadline=1))
    finally:
        told = signer.end()
    assert f"refused: {only}" in told


class Steps:
    """A clock that a test pushes."""

    def __init__(self) -> None:
        self.more = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.more


def test_a_hanging_signer_costs_one_deadline_and_its_late_answer_is_nobodys(home: Home) -> None:
    clock = Steps()
    signer = home.signer("--allow", "registration")
    try:
        ours = RemoteSigner(home.socket, POLYGON, monotonic=clock)
        good = ours.sign_registration()
        signer.popen.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(SigningRefusedError, match=r"did not answer within 0\.25 s"):
            ours.open_market(MarketId("0x1"), ends_s=2_000_000_000)
        assert 0.2 < time.monotonic() - began < 5
        with pytest.raises(SigningRefusedError, match="a moment ago"):
            ours.sign_registration()
        signer.popen.send_signal(signal.SIGCONT)
        patient = RemoteSigner(home.socket, POLYGON, deadline_s=30.0)
        assert patient.sign_registration() == good
        clock.more += REST_S
        ours._deadline_s = 30.0
        assert ours.sign_registration() == good
        ours.close()
        patient.close()
    finally:
        signer.popen.send_signal(signal.SIGCONT)
        signer.end()


def test_limits_and_latch_of_the_other_process_stop_orders_and_ctrl_c_ends_it(
    exchange: str, tmp_path: Path
) -> None:
    home = Home(tmp_path, OTHER_KEY)
    for more, problem in (
        (("--allow", "registration"), r"a size of 82\.926\d+ shares is outside of 0 \.\.\. 50"),
        (PROBE_FITS, "the kill switch is latched"),
    ):
        signer = home.signer(*more)
        try:
            if "registration" in more:
                done = run("probe", "--host", exchange, "--auto-register", environ=home.trader)
                assert done.returncode == 0, done.stdout + done.stderr
            else:
                home.latch.parent.mkdir(parents=True)
                home.latch.touch()
            done = run("probe", "--host", exchange, "--trade-test", environ=home.trader)
            assert done.returncode == 1, done.stdout + done.stderr
            assert re.search(rf"(?m)^error: BUY placed: the signer refuses: .*{problem}", done.stderr)
        finally:
            signer.popen.send_signal(signal.SIGINT)
            signer.popen.communicate(timeout=TIMEOUT_S)
        assert signer.popen.returncode == 0
        assert not home.socket.exists()


def test_the_signers_memory_is_nobodys_business() -> None:
    code = (
        "import ctypes, resource\n"
        "from turbine_agent.runtime.signer_process import harden_process\n"
        "harden_process()\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=BARE, capture_output=True, text=True, check=True)
    assert done.stdout == "0 (0, 0)\n"


# -- a signer that cannot be -------------------------------------------------------------------------------


def test_what_keeps_a_signer_from_starting_has_its_exit_code(home: Home) -> None:
    socket = ("signer", "--socket", str(home.socket))
    wrong = home.wallet | {"TURBINE_KEYSTORE_PASSWORD_FILE": str(home.private("wrong", "canary"))}
    for arguments, environ, code, told in (
        (
            ("signer", "--data", "d", *socket[1:]),
            {"TURBINE_ENV_FILE": str(home.folder / "x")},
            11,
            "there is no wallet",
        ),
        (socket, wrong, 11, "the password is wrong"),
        (("signer", "--socket", str(home.keys)), home.wallet, 1, "no socket"),
    ):
        done = run(*arguments, environ=environ)
        assert done.returncode == code, done.stderr
        assert told in done.stderr
        assert "\n  do: " in done.stderr
        assert "Traceback" not in done.stderr
        no_canary(done.stdout + done.stderr, WALLET_KEY, PASSWORD, "canary")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), ExitCode.USAGE, "where to listen is not known"),
        (("--socket", "s"), ExitCode.USAGE, "there is no home folder"),
        (
            ("--socket", "s", "--latch", "l", "--allow", "order "),
            ExitCode.USAGE,
            "there is no such operation",
        ),
        (
            ("--socket", "s", "--latch", "l", "--set", "exchange.chain_id=5"),
            ExitCode.USAGE,
            "not one of the exchange's",
        ),
        (("--socket", "s", "--data", "d", "--set", "risk.pull_s=-1"), ExitCode.CONFIG, "risk.pull_s"),
    ],
)
def test_what_makes_no_sense_is_said_before_a_key_is_looked_at(
    arguments: tuple[str, ...],
    code: ExitCode,
    told: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("TURBINE_SIGNER_SOCKET", "TURBINE_DATA_DIR", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TURBINE_PRIVATE_KEY", "canary")
    with pytest.raises(SystemExit) as caught:
        entry(["signer", *arguments])
    assert caught.value.code == code
    error = capsys.readouterr().err
    assert told in error
    assert "canary" not in error
    assert os.environ["TURBINE_PRIVATE_KEY"] == "canary"


# -- the canary in one process -----------------------------------------------------------------------------

OPEN_KEYS = {
    "TURBINE_PRIVATE_KEY": WALLET_KEY,
    "TURBINE_API_KEY_ID": "tk_1",
    "TURBINE_API_PRIVATE_KEY": API_SECRET,
    "TURBINE_KEYSTORE_PASSWORD": PASSWORD,
}
SECRETS = (WALLET_KEY, API_SECRET, PASSWORD)


@pytest.mark.parametrize(
    "arguments",
    [
        ("config", "show"),
        ("sim", "--seed", "1", "--markets", "1", "--json"),
        ("probe", "--host", "EXCHANGE", "--trade-test"),
        ("probe", "--host", "EXCHANGE", "--trade-test", "--json", "--debug"),
        ("probe", "--host", "EXCHANGE", "--trade-test", "--set", f"risk.pull_s={WALLET_KEY}"),
        ("probe", "--host", "http://127.0.0.1:9", "--trade-test", "--debug"),
    ],
)
def test_no_command_shows_what_stands_in_its_environment(
    exchange: str, home: Home, arguments: tuple[str, ...]
) -> None:
    words = [exchange if word == "EXCHANGE" else word for word in arguments]
    done = run(*words, environ={**OPEN_KEYS, "TURBINE_ENV_FILE": str(home.folder / "none")})
    assert done.stdout + done.stderr
    no_canary(done.stdout + done.stderr, *SECRETS)


@pytest.mark.parametrize(
    "ending",
    [
        "raise RuntimeError(key.hex())",
        "raise RuntimeError({'a': [key, key.hex().upper(), int.from_bytes(key, 'big')]})",
        "asyncio.run(crash())",
        "logs.get('x').error(key.hex(), key=key, again=[{key.hex(): key}], text=f'is {key.hex()}')",
        "subprocess.run(['env'])",
        "complain(f'error: {key.hex()}')",
        "logging.getLogger('aiohttp').warning('Authorization: Bearer %s', found.minter().mint(1, bytes(16)))",
    ],
)
def test_a_crash_a_log_line_and_a_child_show_nothing(home: Home, ending: str) -> None:
    code = (
        "import asyncio, logging, subprocess\n"
        "from turbine_agent.cli.common import complain\n"
        "from turbine_agent.runtime import logs\n"
        "from turbine_agent.runtime.credentials import take_credentials\n"
        "from turbine_agent.runtime.settings import LoggingSettings\n"
        "found = take_credentials()\n"
        f"logs.configure(LoggingSettings(file_path={str(home.log)!r}))\n"
        "key = found.wallet.reveal()\n"
        "async def crash():\n"
        "    local = key.hex()\n"
        "    async with asyncio.TaskGroup() as group:\n"
        "        group.create_task(fail(local))\n"
        "async def fail(argument):\n"
        "    raise ValueError(argument)\n"
        f"{ending}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=BARE | OPEN_KEYS | {"TURBINE_ENV_FILE": str(home.folder / "none")},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    told = done.stdout + done.stderr
    assert told
    left = told + home.log.read_text()
    no_canary(left, *SECRETS)
    assert repr(bytes.fromhex(WALLET_KEY))[2:14] not in left
    assert str(int(WALLET_KEY, 16)) not in left
    if "raise" in ending or "crash" in ending:
        assert "Error" in told
        assert "[redacted]" in told
