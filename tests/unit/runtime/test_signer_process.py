"""One suite for both signers, the one in this process and the one behind a socket. Then the socket itself."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from turbine_agent.exchange.turbine.limits import Operation, SigningGuard, SigningLimits
from turbine_agent.exchange.turbine.signing import (
    Approval,
    LocalSigner,
    Permit,
    Redemption,
    Signer,
    SigningRefusedError,
    wallet_secret,
)
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms
from turbine_agent.model.units import SECOND, Money, Nanos, Price, Qty
from turbine_agent.protocol.constants import AVALANCHE, BASE_SEPOLIA, POLYGON, UINT64_MAX, UINT256_MAX, Chain
from turbine_agent.runtime.signer_process import (
    CONNECTIONS_MAX,
    MARKETS_TOLD_MAX,
    MESSAGE_BYTES_MAX,
    REST_S,
    RemoteSigner,
    SignerServer,
    SignerUnreachableError,
    latch_file,
)

KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
TRADER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
MARKET = MarketId("0x" + "11" * 32)
EXPIRES_S = 1_900_000_000
NOW_S = EXPIRES_S - 80
ENDS_S = EXPIRES_S + 100
PATIENT_S = 30.0
"""So that a busy machine fails no test but the one about deadlines."""

LIMITS = SigningLimits(
    operations=tuple(Operation),
    max_order_qty=Qty(50_000_000),
    max_order_stake=Money(20_000_000),
    min_price=Price(1),
    max_price=Price(999_999),
    max_life_ns=Nanos(95 * SECOND),
    pull_ns=Nanos(30 * SECOND),
    max_minute_orders=1_000_000,
    max_minute_stake=Money(10**15),
)


def terms(**changes: object) -> OrderTerms:
    """Vector A of the protocol's golden ones."""
    usual = OrderTerms(
        market_id=MARKET,
        outcome=Outcome.YES,
        side=Side.BUY,
        price=Price(500_000),
        qty=Qty(2_000_000),
        nonce=7378697629483820646,
        expires_s=EXPIRES_S,
    )
    return msgspec.structs.replace(usual, **changes)


class Served:
    """A signer's server in a thread: real packets, and a clock and a latch that a test holds."""

    def __init__(
        self, path: Path, *, key: str = KEY, limits: SigningLimits = LIMITS, client_uid: int | None = None
    ) -> None:
        self.path = path
        self.now_s = NOW_S
        self.latched = False
        self.said: list[str] = []
        guard = SigningGuard(limits, lambda: Nanos(self.now_s * SECOND), is_latched=lambda: self.latched)
        self.local = LocalSigner(wallet_secret(key), POLYGON, guard=guard)
        self.server = SignerServer(self.local, POLYGON, path, client_uid=client_uid, say=self.said.append)
        self._thread = threading.Thread(target=self.server.serve, daemon=True)

    def __enter__(self) -> Self:
        self.server.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.stop()
        self._thread.join(PATIENT_S)
        assert not self._thread.is_alive()
        self.server.__exit__(None, None, None)

    def works(self) -> bool:
        """Whether somebody new is served."""
        with closing(self.remote()) as remote:
            return remote.sign_registration().startswith("0x")

    def remote(self, chain: Chain = POLYGON, **more: object) -> RemoteSigner:
        return RemoteSigner(self.path, chain, **{"deadline_s": PATIENT_S, **more})  # type: ignore[arg-type]


class Desk:
    """A signer, and what its guard looks at."""

    def __init__(self, served: Served, signer: Signer) -> None:
        self.served = served
        self.signer = signer

    def refusal(self, ask: Callable[[], object]) -> str:
        with pytest.raises(SigningRefusedError) as caught:
            ask()
        return str(caught.value)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "signer"


@pytest.fixture(params=["local", "remote"])
def desk(request: pytest.FixtureRequest, place: Path) -> Iterator[Desk]:
    with Served(place) as served, ExitStack() as stack:
        if request.param == "local":
            yield Desk(served, served.local)
        else:
            remote = served.remote()
            stack.callback(remote.close)
            yield Desk(served, remote)


# -- both sign the same, and refuse the same -----------------------------------------------------------------


def test_it_signs_for_its_wallet(desk: Desk) -> None:
    assert desk.signer.naming.trader == TRADER
    assert KEY[:12] not in repr(desk.signer)


def test_the_golden_order(desk: Desk) -> None:
    desk.signer.open_market(MARKET, ends_s=ENDS_S)
    signed = desk.signer.sign_order(terms(), settlement=POLYGON.settlement)
    assert signed.order_id == desk.signer.naming.identify(terms())
    assert signed.trader == TRADER
    assert signed.terms == terms()
    assert signed.signature == (
        "0xd8cf0b5008a08863003b702984587833003bca9ef23a701be40dc317d00c5483"
        "2774f4b869101b9999a6a2b9f5b4cd0957fe42d610f605bdb3e77c9e7d1246351b"
    )


def test_the_golden_permit_approval_redemption_and_registration(desk: Desk) -> None:
    permit = Permit(spender=POLYGON.settlement, value=UINT256_MAX, nonce=0, deadline=UINT256_MAX)
    parts = desk.signer.sign_permit(permit)
    assert parts.s == "0x2734bebfb130be8abe6070311afc7713bfb43b0c0a5258cf3d2cad86a959a676"
    approval = Approval(operator=POLYGON.settlement, approved=True, nonce=0, deadline=1_900_000_000)
    parts = desk.signer.sign_approval(approval)
    assert parts.s == "0x01876351543ef8641eda52ccd7bed221cd295e6ab9d02772fbe20de36cfd3d8a"
    parts = desk.signer.sign_redemption(REDEMPTION)
    assert (parts.v, parts.s) == (27, "0x39f5f5dee690b33abe17bfc1dcc93a82330d8e9603845276024481de43bff8f3")
    assert desk.signer.sign_registration().startswith("0x76b1f9357711999c29e673366088f6b74d587af62a4b992")


REDEMPTION = Redemption(
    ctf=POLYGON.ctf,
    collateral=POLYGON.usdc,
    condition_id="0x" + "22" * 32,
    index_set=1,
    nonce=3,
    deadline=1_900_000_000,
)


def test_every_refusal_arrives_as_one_with_its_reason(desk: Desk) -> None:
    signer = desk.signer

    def order(settlement: str = POLYGON.settlement, **changes: object) -> str:
        return desk.refusal(lambda: signer.sign_order(terms(**changes), settlement=settlement))

    assert "was not told" in order()
    signer.open_market(MARKET, ends_s=ENDS_S)
    signer.open_market(MARKET, ends_s=ENDS_S)
    assert "was told as" in desk.refusal(lambda: signer.open_market(MARKET, ends_s=ENDS_S + 1))
    assert AVALANCHE.settlement in order(AVALANCHE.settlement)
    assert "is not an address" in order("0x12")
    assert "is outside of 0 ... 50" in order(qty=50_000_001)
    assert "it can lose 20.25 USDC" in order(qty=40_500_000)
    assert "longer than 95 s" in order(expires_s=EXPIRES_S + 16)
    assert "nonce" in order(nonce=UINT64_MAX + 1)
    assert "nonce" in order(nonce=-1)
    assert "is not hex" in order(market_id=MarketId("x" * 200))
    bad = msgspec.structs.replace(REDEMPTION, condition_id="0x" + "2" * 65)
    assert "conditionId" in desk.refusal(lambda: signer.sign_redemption(bad))
    bad = msgspec.structs.replace(REDEMPTION, collateral=AVALANCHE.usdc)
    assert "is not the collateral" in desk.refusal(lambda: signer.sign_redemption(bad))
    over = Permit(spender=POLYGON.settlement, value=UINT256_MAX + 1, nonce=0, deadline=1)
    assert "value" in desk.refusal(lambda: signer.sign_permit(over))
    theirs = Permit(spender=TRADER, value=1, nonce=0, deadline=1)
    assert "allowed" in desk.refusal(lambda: signer.sign_permit(theirs))
    signer.sign_order(terms(), settlement=POLYGON.settlement)
    desk.served.latched = True
    assert "latched" in order()
    signer.sign_redemption(REDEMPTION)
    desk.served.latched = False
    desk.served.now_s = ENDS_S - 30
    assert "last 30 s" in order(expires_s=ENDS_S)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Signer, Signer]]:
    """Two signers with the same limits, and each its own memory."""
    place = tmp_path_factory.mktemp("pair") / "signer"
    with Served(place) as served, Served(place.with_name("other")) as other:
        remote = served.remote()
        yield remote, other.local
        remote.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    orders=st.lists(
        st.builds(
            terms,
            market_id=st.sampled_from([MARKET, MarketId("0x2"), MarketId("")]),
            outcome=st.sampled_from(Outcome),
            side=st.sampled_from(Side),
            price=st.integers(-1, 1_000_001),
            qty=st.integers(-1, 60_000_000) | st.integers(),
            nonce=st.integers(-1, 2**65),
            expires_s=st.integers(NOW_S - 2, EXPIRES_S + 200) | st.integers(),
        ),
        max_size=5,
    )
)
def test_whatever_is_asked_both_say_the_same(pair: tuple[Signer, Signer], orders: list[OrderTerms]) -> None:
    said: list[list[object]] = []
    for signer in pair:
        answers: list[object] = []
        signer.open_market(MARKET, ends_s=ENDS_S)
        for order in orders:
            try:
                answers.append(signer.sign_order(order, settlement=POLYGON.settlement))
            except SigningRefusedError as refusal:
                answers.append(str(refusal))
        said.append(answers)
    assert said[0] == said[1]


# -- strangers at the socket -------------------------------------------------------------------------------


def knock(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.settimeout(PATIENT_S)
    connection.connect(str(path))
    return connection


def greeting(protocol: int = 1, chain_id: int = 137) -> bytes:
    return msgspec.json.encode({"kind": "hello", "protocol": protocol, "chain_id": chain_id})


@pytest.mark.parametrize("is_greeted", [False, True])
@pytest.mark.parametrize(
    "message",
    [
        b"x",
        b"{}",
        b'{"kind":"signdigest","digest":"0x00"}',
        b'{"kind":"signregistration","more":1}',
        b'{"kind":"signorder","settlement":"0x"}',
        b'{"kind":"openmarket","market_id":"a","ends_s":"1"}',
        b'{"kind":"openmarket","market_id":"a","ends_s":1.5}',
        b'{"kind":"welcome","trader":"","maker_fee_recipient":""}',
        b"\xff\xfe",
        b"[" * 4_000,
        b" " * (MESSAGE_BYTES_MAX + 1),
        b'{"kind":"signregistration"}' + b" " * 100_000,
    ],
)
def test_what_is_no_message_ends_the_connection_and_nothing_else(
    place: Path, message: bytes, *, is_greeted: bool
) -> None:
    with Served(place) as served, knock(place) as stranger:
        ours = served.remote()
        if is_greeted:
            stranger.send(greeting())
            assert b"welcome" in stranger.recv(MESSAGE_BYTES_MAX)
        stranger.send(message)
        assert stranger.recv(MESSAGE_BYTES_MAX) == b""
        assert ours.sign_registration()
        assert served.works()
        ours.close()


@pytest.mark.parametrize("first", [b'{"kind":"signregistration"}', greeting() + b""])
def test_a_greeting_comes_first_and_once(place: Path, first: bytes) -> None:
    with Served(place), knock(place) as stranger:
        if first == greeting():
            stranger.send(first)
            assert b"welcome" in stranger.recv(MESSAGE_BYTES_MAX)
        stranger.send(first)
        assert stranger.recv(MESSAGE_BYTES_MAX) == b""


def test_another_version_or_chain_is_refused_in_words(place: Path) -> None:
    with Served(place) as served:
        with pytest.raises(SignerUnreachableError, match="not version 1 and chain 84532"):
            served.remote(BASE_SEPOLIA)
        with knock(place) as stranger:
            stranger.send(greeting(protocol=2))
            assert b"not version 2" in stranger.recv(MESSAGE_BYTES_MAX)
            stranger.send(b'{"kind":"signregistration"}')
            assert stranger.recv(MESSAGE_BYTES_MAX) == b""


def test_another_user_is_turned_away_before_a_word(place: Path) -> None:
    with Served(place, client_uid=os.getuid() + 1) as served:
        assert stat.S_IMODE(place.stat().st_mode) == 0o666
        with pytest.raises(SignerUnreachableError):
            served.remote()
        assert served.said == [
            f"turned away process {os.getpid()} of user {os.getuid()}: only user {os.getuid() + 1} is served"
        ]


def test_so_many_are_served_and_no_more(place: Path) -> None:
    with Served(place) as served:
        there = [served.remote() for _ in range(CONNECTIONS_MAX)]
        with pytest.raises(SignerUnreachableError):
            served.remote()
        there.pop().close()
        again = eventually(served.remote)
        for remote in (*there, again):
            assert remote.sign_registration()
            remote.close()


def eventually(make: Callable[[], RemoteSigner]) -> RemoteSigner:
    """The server hears of a closed connection a moment later."""
    deadline = time.monotonic() + PATIENT_S
    while True:
        try:
            return make()
        except SignerUnreachableError:
            assert time.monotonic() < deadline


# -- the place ---------------------------------------------------------------------------------------------


def test_the_socket_is_its_owners_alone_and_goes_with_the_server(place: Path) -> None:
    with Served(place):
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert not place.exists()


def test_a_place_is_taken_over_only_from_the_dead(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(place))
    assert place.exists()
    with Served(place) as served:
        assert served.works()
        with pytest.raises(FileExistsError, match="a signer listens at"):
            SignerServer(served.local, POLYGON, place).__enter__()
        assert served.works()
    place.write_text("mine")
    with pytest.raises(FileExistsError, match="no socket"):
        SignerServer(served.local, POLYGON, place).__enter__()
    assert place.read_text() == "mine"


# -- a signer that is not there ------------------------------------------------------------------------------


def test_nobody_there_is_said_at_the_start(place: Path) -> None:
    with pytest.raises(SignerUnreachableError, match="No such file"):
        RemoteSigner(place, POLYGON)
    place.write_text("")
    with pytest.raises(SignerUnreachableError, match="Connection refused"):
        RemoteSigner(place, POLYGON)


def test_one_that_says_nothing_is_not_waited_for(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as silent:
        silent.bind(str(place))
        silent.listen(8)
        began = time.monotonic()
        with pytest.raises(SignerUnreachableError, match=r"did not answer within 0\.05 s"):
            RemoteSigner(place, POLYGON, deadline_s=0.05)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "answer", [b"x", b'{"kind":"noted"}', b'{"kind":"welcome"}', b"y" * (2 * MESSAGE_BYTES_MAX), b""]
)
def test_one_that_speaks_nonsense_is_left(place: Path, answer: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as mad:
        mad.bind(str(place))
        mad.listen(8)

        def talk() -> None:
            connection, _ = mad.accept()
            with connection:
                connection.recv(MESSAGE_BYTES_MAX)
                if answer:
                    connection.send(answer)

        thread = threading.Thread(target=talk)
        thread.start()
        with pytest.raises(SignerUnreachableError, match="is not there: "):
            RemoteSigner(place, POLYGON, deadline_s=PATIENT_S)
        thread.join(PATIENT_S)


class Steps:
    """A clock that goes on by itself, and by more when it is told."""

    def __init__(self) -> None:
        self.more = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.more


def test_when_the_signer_dies_orders_are_refused_at_once_and_a_new_one_is_found(place: Path) -> None:
    clock = Steps()
    with Served(place) as served:
        remote = served.remote(monotonic=clock)
        remote.open_market(MARKET, ends_s=ENDS_S)
        first = remote.sign_order(terms(), settlement=POLYGON.settlement)
    with pytest.raises(SigningRefusedError, match="is not there"):
        remote.sign_order(terms(), settlement=POLYGON.settlement)
    with pytest.raises(SigningRefusedError, match="a moment ago"):
        remote.sign_order(terms(), settlement=POLYGON.settlement)
    with Served(place) as served:
        with pytest.raises(SigningRefusedError, match="a moment ago"):
            remote.sign_redemption(REDEMPTION)
        clock.more += REST_S
        assert remote.sign_order(terms(), settlement=POLYGON.settlement) == first
        remote.close()


def test_a_signer_of_another_wallet_is_never_taken_for_ours(place: Path) -> None:
    clock = Steps()
    with Served(place) as served:
        remote = served.remote(monotonic=clock)
    with Served(place, key="07" * 32):
        for _ in range(3):
            clock.more += REST_S
            with pytest.raises(SigningRefusedError):
                remote.sign_registration()
        clock.more += REST_S
        with pytest.raises(SigningRefusedError, match=f"and was {TRADER}'s: restart the agent"):
            remote.sign_registration()
    assert remote.naming.trader == TRADER


def test_a_new_signer_is_told_the_latest_markets_again(place: Path) -> None:
    clock = Steps()
    markets = [MarketId(f"0x{number:x}") for number in range(MARKETS_TOLD_MAX + 2)]
    with Served(place) as served:
        remote = served.remote(monotonic=clock)
        for market_id in markets:
            remote.open_market(market_id, ends_s=ENDS_S)
    with pytest.raises(SigningRefusedError):
        remote.sign_registration()
    clock.more += REST_S
    with Served(place):
        for market_id in markets[2:]:
            remote.sign_order(terms(market_id=market_id), settlement=POLYGON.settlement)
        with pytest.raises(SigningRefusedError, match="was not told"):
            remote.sign_order(terms(market_id=markets[1]), settlement=POLYGON.settlement)
        remote.close()


# -- the latch ---------------------------------------------------------------------------------------------


def test_the_latch_is_a_file_and_what_cannot_be_looked_at_counts_as_there(tmp_path: Path) -> None:
    path = tmp_path / "latch"
    is_latched = latch_file(path)
    assert not is_latched()
    path.touch()
    assert is_latched()
    path.unlink()
    assert not is_latched()
    path.symlink_to(tmp_path / "nowhere")
    assert is_latched()
    (tmp_path / "file").touch()
    assert latch_file(tmp_path / "file" / "latch")()
    assert latch_file(Path("x" * 5_000))()
