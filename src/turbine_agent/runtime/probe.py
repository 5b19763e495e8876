"""The connectivity probe: one look at an exchange, from the wire's end, before anything is trusted to it.

    always            health, the market of the moment, its strike, its line in the list, both books, trades,
                      clocks, latency; public questions only, no credentials
    stream            the same market's stream for a while (`probe_stream`)
    registration      an API key for the wallet, stored at once
    trade test        two orders placed, found open, cancelled, found gone (`probe_trade`)

Each check is told as it ends. The probe shares the adapter's reading of the protocol (`wire`, `signing`,
`outcome`): what it finds readable, the agent can read. Orders are placed only if all other checks went well.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from turbine_agent.exchange.turbine import wire
from turbine_agent.exchange.turbine.limits import SigningGuard
from turbine_agent.exchange.turbine.outcome import Done, Reply, SurelyRefused
from turbine_agent.exchange.turbine.signing import Signer, SigningRefusedError
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.protocol import constants
from turbine_agent.protocol.constants import TOKEN_VALIDITY_S, Chain
from turbine_agent.runtime import probe_checks as checks
from turbine_agent.runtime import probe_stream, probe_trade
from turbine_agent.runtime.credentials import (
    API_KEY_ID,
    API_PRIVATE_KEY,
    PRIVATE_KEY,
    Credentials,
    CredentialsError,
    check_storable,
    store_api_key,
)
from turbine_agent.runtime.probe_parts import (
    Check,
    CheckFailedError,
    Client,
    Ending,
    Record,
    Report,
    Venue,
    no_answer,
    span_text,
    unhurried,
    unreadable,
)

HTTP_NAMES: Final = (
    "quick market",
    "strike",
    "markets list",
    "YES book",
    "NO book",
    "books",
    "trades",
    "clock",
    "latency",
)

POLL_EVERY: Final = Nanos(2 * SECOND)
GAP_MAX: Final = 60 * SECOND
"""Between the end of a market and the next one's appearance; 2 to 30 s were seen."""

MARKET_LIFE: Final = 10 * SECOND
"""What a market has to have left for the questions that are always asked."""

HEALTH_ASKED: Final = 5
"""Times that health is asked for, besides all other questions, to measure the latency."""

CONFLICT: Final = 409


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be probed."""

    chain: Chain
    asset: str = "BTC"
    interval_minutes: int = 15
    stream: Nanos | None = None
    """How long to listen to the stream; None: not at all."""
    registers: bool = False
    trades: bool = False


class Probe:
    """One probe. `run` may be cancelled: it then takes back what it has placed, and `report` is the truth."""

    def __init__(
        self,
        venue: Venue,
        wish: Wish,
        credentials: Credentials | None,
        say: Callable[[Check | str], None],
    ) -> None:
        """Raises CredentialsError if the wish needs keys that are not there."""
        if wish.registers or wish.trades:
            assert credentials is not None
            needed = (PRIVATE_KEY,) if wish.registers else (PRIVATE_KEY, API_KEY_ID, API_PRIVATE_KEY)
            credentials.demand(*needed)
        self._venue = venue
        self._wish = wish
        self._credentials = credentials
        self._made_signer: Signer | None = None
        self._record = Record(say)
        self._client = Client(venue)
        self._quick: wire.QuickMarket | None = None
        self._row: wire.MarketRow | None = None
        self._trade_test: probe_trade.TradeTest | None = None
        self._record.live.update(dict.fromkeys(_QUESTIONS, "not asked"))

    async def run(self) -> Report:
        """Ask everything that was wished for. Does not raise CancelledError: an interrupted probe reports."""
        try:
            await self._run()
        except asyncio.CancelledError:
            return self.report(is_interrupted=True)
        return self.report()

    def report(self, *, is_interrupted: bool = False) -> Report:
        """What is known so far."""
        client = self._client
        live = dict(self._record.live)
        offset = checks.clock_offset(client.heard)
        live["latency (min / median / max)"] = checks.latency_text(client.latencies[1:])
        live["clock, exchange minus ours"] = "no Date header" if offset is None else str(offset)
        limits = checks.rate_limits(client.heard)
        live["rate limits seen"] = ", ".join(f"{k}: {v}" for k, v in limits.items()) or "none in any header"
        versions = {heard.http_version for heard in client.heard if heard.http_version}
        live["HTTP version"] = ", ".join(sorted(versions)) or "no answer"
        return Report(
            host=self._venue.host,
            checks=tuple(self._record.checks),
            live=live,
            orders_left=() if self._trade_test is None else self._trade_test.left,
            is_interrupted=is_interrupted,
        )

    async def _run(self) -> None:
        wish, record = self._wish, self._record
        if await record.check("health", self._health()) is None:
            names: tuple[str, ...] = HTTP_NAMES
            names += probe_stream.NAMES if wish.stream is not None else ()
            names += ("API key",) if wish.registers or wish.trades else ()
            names += probe_trade.NAMES if wish.trades else ()
            record.skip(names, "the exchange is not well")
            return
        await self._public()
        if wish.stream is not None:
            if self._quick is None:
                record.skip(probe_stream.NAMES, "there is no market")
            else:
                await probe_stream.probe_stream(record, self._client, self._quick.market_id, wish.stream)
        if wish.registers and await record.check("registration", self._register()) is None:
            record.skip(("API key", *(probe_trade.NAMES if wish.trades else ())), "there is no API key")
            return
        if wish.registers or wish.trades:
            is_good = await record.check("API key", self._key())
            if wish.trades:
                await self._trade(is_good=is_good is not None)

    # -- always --------------------------------------------------------------------------------------------

    async def _public(self) -> None:
        record = self._record
        self._quick = quick = await record.check(HTTP_NAMES[0], self._market())
        if quick is None:
            record.skip(HTTP_NAMES[1:7], "there is no market")
        else:
            await record.check(HTTP_NAMES[1], self._strike(quick))
            self._row = await record.check(HTTP_NAMES[2], self._listed(quick))
            books = [
                await record.check(name, self._book(quick.market_id, outcome))
                for name, outcome in ((HTTP_NAMES[3], Outcome.YES), (HTTP_NAMES[4], Outcome.NO))
            ]
            if books[0] is not None and books[1] is not None:
                await record.check(HTTP_NAMES[5], self._both(books[0], books[1]))
            else:
                record.skip(HTTP_NAMES[5:6], "a book is missing")
            await record.check(HTTP_NAMES[6], self._trades(quick.market_id))
        await record.check(HTTP_NAMES[7], self._clock())
        await record.check(HTTP_NAMES[8], self._latency())

    async def _health(self) -> tuple[str, bool]:
        status = await self._client.read(constants.HEALTH, wire.health)
        if status.lower() != "ok":
            raise CheckFailedError(
                f"the exchange says {wire.printable(status, 40)!r} of itself", "try again in a minute"
            )
        return f'"ok" after {span_text(self._client.latencies[0])}, connection included', True

    async def _market(self) -> tuple[str, wire.QuickMarket]:
        """The market of the moment. Around its end there is none for a while, which is waited for."""
        wish, venue = self._wish, self._venue
        life = MARKET_LIFE + (wish.stream or 0)
        if wish.trades:
            life += probe_trade.MARKET_LIFE_S * SECOND
        target = wire.path(constants.QUICK_MARKET, asset=wish.asset)
        target += wire.query(interval=wish.interval_minutes)
        decode = partial(wire.quick_market, asset=wish.asset, interval_minutes=wish.interval_minutes)
        until = venue.now() + life + GAP_MAX
        is_told = False
        while True:
            quick = await self._client.read(target, decode)
            offset = checks.clock_offset(self._client.heard)
            now = venue.now() + (0 if offset is None else offset.middle)
            if quick is not None and quick.end_s * SECOND >= now + life and not quick.is_resolved:
                left = quick.end_s - now // SECOND
                began = "" if quick.start_s is None else f", began {now // SECOND - quick.start_s} s ago"
                return f"{quick.asset} {wish.interval_minutes} min, ends in {left} s{began}", quick
            if venue.now() >= until:
                raise CheckFailedError(
                    f"the exchange shows no {wish.asset} market of {wish.interval_minutes} minutes with"
                    f" {life // SECOND} s left to live",
                    "check --asset and --interval; if they are right, the exchange has stopped its markets",
                )
            if not is_told:
                self._record.say("waiting for a market with enough time left")
                is_told = True
            await venue.sleep(POLL_EVERY)

    async def _strike(self, quick: wire.QuickMarket) -> tuple[str, bool]:
        target = wire.path(constants.QUICK_MARKET_PRICE, asset=quick.asset)
        price = await self._client.read(target, wire.asset_price)
        figure, scale = checks.check_strike(quick.start_price, price)
        self._record.live["start price scale"] = scale
        return figure, True

    async def _listed(self, quick: wire.QuickMarket) -> tuple[str, wire.MarketRow]:
        chain = self._wish.chain
        target = constants.MARKETS + wire.query(chain_id=chain.chain_id)
        rows = await self._client.read(target, wire.markets)
        row = rows.get(quick.market_id)
        figure = checks.check_market_row(row, quick, chain)
        assert row is not None
        return f"{figure}, one of {len(rows)}", row

    async def _book(self, market_id: MarketId, outcome: Outcome) -> tuple[str, wire.Book]:
        target = wire.path(constants.ORDERBOOK, market_id=market_id) + wire.query(outcome=int(outcome))
        book = await self._client.read(target, partial(checks.read_book, market_id=market_id))
        return checks.check_book(book), book

    async def _both(self, yes: wire.Book, no: wire.Book) -> tuple[str, bool]:
        return checks.check_books(yes, no), True

    async def _trades(self, market_id: MarketId) -> tuple[str, bool]:
        target = wire.path(constants.TRADES, market_id=market_id) + wire.query(limit=100)
        rows = await self._client.read(target, partial(wire.trades, market_id=market_id))
        offset = checks.clock_offset(self._client.heard)
        return checks.check_trades(rows, Nanos(self._venue.now() + (offset.middle if offset else 0))), True

    async def _clock(self) -> tuple[str, bool]:
        return checks.check_clock(checks.clock_offset(self._client.heard)), True

    async def _latency(self) -> tuple[str, bool]:
        for _ in range(HEALTH_ASKED):
            await self._client.read(constants.HEALTH, wire.health)
        return f"{checks.latency_text(self._client.latencies[1:])} requests", True

    # -- keys ----------------------------------------------------------------------------------------------

    async def _register(self) -> tuple[str, bool]:
        credentials = self._credentials
        assert credentials is not None
        if not credentials.missing(API_KEY_ID, API_PRIVATE_KEY):
            return f"not needed: {credentials.described(API_KEY_ID)}", True
        try:
            check_storable(credentials.path)
        except CredentialsError as error:
            raise _refused(error) from None
        # Once asked for, the key is told once: nothing may come between its answer and the disk.
        return await unhurried(self._ask_for_key(credentials)), True

    def _signer(self, credentials: Credentials) -> Signer:
        """Within limits that fit the probe's two orders and nothing else."""
        if self._made_signer is None:
            guard = SigningGuard(probe_trade.LIMITS, self._venue.now)
            try:
                self._made_signer = credentials.signer(self._wish.chain, guard)
            except CredentialsError as error:
                raise _refused(error) from None
        return self._made_signer

    async def _ask_for_key(self, credentials: Credentials) -> str:
        signer = self._signer(credentials)
        trader = signer.naming.trader
        try:
            body = wire.registration_body(trader, signer.sign_registration(), None)
        except SigningRefusedError as error:
            raise CheckFailedError(
                f"the signer refuses: {error}",
                "start it with --allow registration, for this once",
                Ending.CREDENTIALS,
            ) from None
        verdict = await self._client.verdict("POST", constants.API_KEYS, body=body)
        answer = self._client.heard[-1].result
        if isinstance(answer, Reply) and answer.status == CONFLICT:
            raise _key_exists(answer.body, trader, credentials)
        if not isinstance(verdict, Done):
            raise no_answer(verdict)
        try:
            key = wire.api_key(verdict.body)
        except wire.DecodeError as error:
            raise unreadable(error) from None
        try:
            store_api_key(credentials.path, key.key_id, key.secret)
        except CredentialsError as error:
            raise CheckFailedError(
                f"the exchange has issued the key {wire.printable(key.key_id, 80)} for {trader}, and it could"
                f" not be stored: {error.problem}",
                f"{error.remedy}. The exchange tells a key once: ask it to revoke this one",
                Ending.CREDENTIALS,
            ) from None
        self._credentials = msgspec.structs.replace(
            credentials,
            api_key_id=key.key_id,
            api_secret=key.secret,
            origins=credentials.origins | dict.fromkeys((API_KEY_ID, API_PRIVATE_KEY), str(credentials.path)),
        )
        return f"the key {wire.printable(key.key_id, 80)} for {trader} is in {credentials.path}"

    async def _key(self) -> tuple[str, bool]:
        """Whether the exchange takes our tokens, and for whose."""
        credentials = self._credentials
        assert credentials is not None
        minter = credentials.minter()
        trader = self._signer(credentials).naming.trader
        self._client.token = lambda: minter.mint(self._venue.now() // SECOND, secrets.token_bytes(16))
        verdict = await self._client.verdict("GET", constants.USER_STATS, is_private=True)
        if isinstance(verdict, SurelyRefused) and verdict.is_credential:
            raise self._token_refused(verdict, credentials)
        if isinstance(verdict, SurelyRefused) and verdict.status == 404:
            return "not known: the exchange has no page that tells; the first order will", True
        if not isinstance(verdict, Done):
            raise no_answer(verdict)
        try:
            owner = checks.user_address(verdict.body)
        except wire.DecodeError as error:
            raise unreadable(error) from None
        if owner != trader.lower():
            raise CheckFailedError(
                f"the API key is {owner}'s, the wallet's key is {trader}'s",
                f"put keys together that belong together ({credentials.described(PRIVATE_KEY, API_KEY_ID)})",
                Ending.CREDENTIALS,
            )
        return f"good, for {trader}", True

    def _token_refused(self, verdict: SurelyRefused, credentials: Credentials) -> CheckFailedError:
        offset = checks.clock_offset(self._client.heard)
        if offset is not None and abs(offset.middle) > TOKEN_VALIDITY_S * SECOND // 2:
            remedy = f"set this machine's clock (NTP): the exchange's is {offset} from ours"
        elif "expired" in verdict.detail.lower():
            clock = "not known" if offset is None else f"{offset} from ours, which is fine"
            remedy = (
                f"each token is new and good for {TOKEN_VALIDITY_S} s, and the exchange's clock is {clock}:"
                " try again; if it stays so, register for a new key"
            )
        else:
            origins = credentials.described(API_KEY_ID, API_PRIVATE_KEY)
            remedy = f"check that the key is this exchange's and whole ({origins})"
        return CheckFailedError(
            f"the exchange does not take our token: {verdict.status}, {verdict.detail}",
            remedy,
            Ending.CREDENTIALS,
        )

    # -- orders --------------------------------------------------------------------------------------------

    async def _trade(self, *, is_good: bool) -> None:
        record, quick, row, credentials = self._record, self._quick, self._row, self._credentials
        failed = [check.name for check in record.checks if check.reason]
        if not is_good or quick is None or row is None or row.settlement is None or failed:
            why = "after what failed above nothing is placed"
            record.skip(probe_trade.NAMES, why)
            return
        assert credentials is not None
        offset = checks.clock_offset(self._client.heard)
        self._trade_test = probe_trade.TradeTest(
            record,
            self._client,
            self._signer(credentials),
            self._wish.chain,
            market_id=quick.market_id,
            settlement=row.settlement,
            ends_s=quick.end_s,
            clock_ahead=0 if offset is None else offset.middle,
            chance=secrets.randbits(31),
        )
        await self._trade_test.run()


_QUESTIONS: Final = (
    "start price scale",
    "stream path",
    "stream filter data.outcome",
    "stream snapshot or delta",
    "order hash definition",
)
"""What only the live exchange can answer; `Probe.report` adds what every answer shows."""


def _refused(error: CredentialsError) -> CheckFailedError:
    return CheckFailedError(error.problem, error.remedy, Ending.CREDENTIALS)


def _key_exists(body: bytes, trader: str, credentials: Credentials) -> CheckFailedError:
    try:
        name = f"the key {wire.printable(wire.existing_key_id(body), 80)}"
    except wire.DecodeError:
        name = "a key"
    return CheckFailedError(
        f"409: the exchange has issued {name} for {trader} already, and tells a key once",
        f"find its private part and put both into {credentials.path}; if it is lost, use another wallet or"
        " ask the exchange to revoke it",
        Ending.CREDENTIALS,
    )
