"""What the agent says of itself: the whole picture, and one line that always answers three questions."""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec
import pytest
from tests.kit import MARKET, snapshot
from tests.scenario.playbook import Talk

from turbine_agent.core.agent import AgentState, HaltNote
from turbine_agent.model.events import (
    FeedConnected,
    FeedLost,
    GapDetected,
    OperatorAction,
    OperatorRequested,
)
from turbine_agent.model.reasons import LATCHING, Halt, Reason
from turbine_agent.model.units import SECOND, Nanos
from turbine_agent.runtime.status import HALTS, REASONS, RESUME, Saying, Status, status_of, why

LINE = re.compile(r"since (\d\d:\d\d:\d\d UTC \(.+?\)|the start)")


def line(talk: Talk, later_s: int = 0) -> str:
    """The line, held to what every line has to be."""
    text = why(talk.agent, Nanos(talk.ts + later_s * SECOND))
    assert text.isprintable(), text
    return text


def blocked(text: str) -> None:
    """It says since when, and what clears it."""
    assert LINE.search(text), text
    assert re.search(r"clears (by|with|when|after|within|see)", text), text


def status(talk: Talk) -> Status:
    return status_of(talk.agent, talk.ts, mode="paper", wallet="0xf39f", pid=7, started=talk.ts)


# -- the tables --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "kinds"), [(HALTS, Halt), (REASONS, Reason)], ids=["halts", "reasons"])
def test_every_halt_and_every_reason_has_its_sentence(
    table: dict[StrEnum, Saying], kinds: type[StrEnum]
) -> None:
    assert list(table) == list(kinds)
    for said in table.values():
        assert said.what
        assert re.match(r"by |when |with |after |within |see ", said.clears), said


def test_what_only_a_person_clears_names_the_command_and_nothing_else_does() -> None:
    for halt, said in HALTS.items():
        assert (RESUME in said.clears) is (halt in LATCHING), halt


# -- the line, state by state ------------------------------------------------------------------------------


def test_before_the_exchange_has_answered() -> None:
    with Talk() as talk:
        text = line(talk)
        assert text.startswith("starting: the exchange has not answered yet, since the start")
        blocked(text)


def test_while_everything_is_read() -> None:
    with Talk() as talk:
        talk.hear(FeedConnected(ts=talk.ts))
        talk.expect("cancel all")
        text = line(talk, 12)
        assert text == (
            "syncing: orders, positions and balance are being read, since 09:00:01 UTC (12 s);"
            " clears by itself when they have been read"
        )


def test_when_both_sides_are_shown_it_says_so_with_their_prices() -> None:
    with Talk() as talk:
        talk.quote()
        assert line(talk) == "quoting BTC 2026-01-30 09:00-09:15 bid 0.49 / ask 0.51"


def test_without_a_market() -> None:
    with Talk() as talk:
        talk.connect()
        text = line(talk)
        assert text.startswith("no quotes: no market is open, since")
        assert text.endswith("clears by itself with the next market")


def test_each_silent_side_is_named_with_what_it_waits_for() -> None:
    with Talk() as talk:
        _, ask = talk.quote()
        talk.tick(1)
        talk.cancelled(ask)
        talk.expect("place sell 10 YES at 0.51")
        text = line(talk)
        assert text.startswith("quoting BTC 2026-01-30 09:00-09:15 bid 0.49; no ask in BTC")
        assert "in_flight, our order is on its way, since" in text
        assert text.endswith("clears by itself when the exchange has it")


def test_a_market_without_a_book_has_two_silent_sides() -> None:
    with Talk() as talk:
        talk.start()
        text = line(talk, 3)
        assert text.startswith("no quotes; no bid in BTC")
        assert text.count("book_unsynced, no book has come yet") == 2
        assert text.count("clears by itself when it comes") == 2


def test_a_side_keeps_the_instant_at_which_its_reason_began() -> None:
    with Talk() as talk:
        talk.quote()
        talk.hear(snapshot(talk.ts, bids=()))
        talk.expect("cancel buy 10 YES at 0.49", "cancel sell 10 YES at 0.51")
        talk.cancelled(*talk.living())
        began = talk.ts
        talk.tick(5)
        talk.hear(snapshot(talk.ts, bids=()))
        assert talk.agent.uptimes[MARKET.market_id].since == (began, began)
        assert (
            line(talk).count("book_one_sided, nobody else quotes one of the sides, since 09:00:02 UTC (5 s)")
            == 2
        )


def test_a_lost_feed_clears_by_itself_and_what_may_still_work_is_counted() -> None:
    """F67."""
    with Talk() as talk:
        bid, ask = talk.quote()
        expires_s = talk.agent.store.orders[bid].terms.expires_s
        talk.hear(FeedLost(ts=talk.ts, detail="closed with 1006"))
        talk.expect("alert warning: feed_lost", "cancel all")
        text = line(talk, 9)
        assert text.startswith(
            "halted: feed_lost, the exchange's stream is down (closed with 1006), since 09:00:02 UTC (9 s);"
            " clears by itself when it is connected again; UNCONFIRMED: 2 orders until "
        )
        found = status(talk)
        assert found.unproven is not None
        assert found.unproven.orders == 2
        assert found.unproven.until_s == expires_s + 5
        talk.cancelled(bid, ask)
        talk.listed()
        assert "UNCONFIRMED" not in line(talk)
        assert status(talk).unproven is None


def test_when_every_reason_has_passed_and_the_proof_is_missing_the_line_says_what_it_waits_for() -> None:
    with Talk() as talk:
        talk.quote()
        talk.hear(GapDetected(ts=talk.ts, market_id=None, detail="two sources disagree"))
        talk.expect("alert warning: gap", "cancel all")
        talk.tick(0.25)
        text = line(talk)
        assert text.startswith("halted: every reason has passed")
        assert "clears by itself when it has" in text
        assert "UNCONFIRMED" in text


def test_a_person_who_halted_it_reads_the_own_words_and_the_command() -> None:
    with Talk() as talk:
        talk.start()
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.HALT, reason="going home"))
        talk.expect("alert critical: operator", "cancel all")
        text = line(talk)
        assert text.startswith("latched: operator, a person halted it (going home), since")
        assert f"clears by {RESUME}" in text


def test_reasons_that_need_a_person_stand_before_those_that_do_not() -> None:
    with Talk() as talk:
        talk.start()
        talk.hear(FeedLost(ts=talk.ts, detail="gone"))
        talk.expect("alert warning: feed_lost", "cancel all")
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.HALT, reason="look"))
        talk.expect("alert critical: operator")
        text = line(talk)
        assert text.index("operator") < text.index("feed_lost")
        assert "; and feed_lost" in text


def test_a_mismatch_that_came_too_often_needs_a_person_and_says_so() -> None:
    with Talk() as talk:
        talk.connect()
        talk.agent.halts[Halt.POSITION_MISMATCH] = HaltNote(since=talk.ts, detail="5 micro YES more")
        talk.agent.state = AgentState.LATCHED  # as the third mismatch leaves it, see test_bad_weather
        text = line(talk)
        assert "by itself when" not in text
        assert f"clears by {RESUME}: it came too often" in text
        assert status(talk).halts[0].needs_person


def test_a_stopped_agent_says_how_to_start_it() -> None:
    with Talk() as talk:
        talk.start()
        talk.hear(OperatorRequested(ts=talk.ts, action=OperatorAction.STOP, reason="the run is over"))
        talk.expect("cancel all")
        text = line(talk)
        assert text.startswith("stopped: the agent was asked to stop, since")
        assert "turbine-agent run" in text


def test_reduce_only_says_what_is_not_confirmed_and_what_is_shown() -> None:
    with Talk() as talk:
        talk.quote()
        talk.agent.state = AgentState.REDUCE_ONLY
        text = line(talk)
        assert text.startswith("reduce-only: positions or balance are not confirmed")
        assert "clears by itself when they are confirmed; quoting BTC" in text
        blocked(text)


@pytest.mark.parametrize("halt", list(Halt))
@pytest.mark.parametrize("state", [AgentState.HALTED, AgentState.LATCHED])
def test_every_halt_reads_in_one_line_with_since_when_and_what_clears_it(
    halt: Halt, state: AgentState
) -> None:
    with Talk() as talk:
        talk.connect()
        talk.agent.halts[halt] = HaltNote(since=talk.ts, detail="why\x1b[31m\nforged: ok")
        talk.agent.state = state
        text = line(talk, 61)
        assert text.startswith(
            f"{state.value}: {halt.value}, {HALTS[halt].what} (why\\x1b[31m\\x0aforged: ok)"
        )
        blocked(text)
        assert "(1 min 01 s)" in text


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_of_a_silent_side_reads_in_one_line(reason: Reason) -> None:
    with Talk() as talk:
        talk.start()
        talk.agent.uptimes[MARKET.market_id].note(reason, None, talk.ts)
        text = line(talk)
        assert f"{reason.value}, {REASONS[reason].what}, since" in text
        blocked(text)


def test_every_state_of_the_machine_has_a_line() -> None:
    for state in AgentState:
        with Talk() as talk:
            talk.connect()
            talk.agent.state = state
            assert line(talk)


# -- the picture -------------------------------------------------------------------------------------------


def test_the_picture_shows_quotes_inventory_and_the_worst_case_against_its_limit() -> None:
    with Talk() as talk:
        bid, ask = talk.quote()
        found = status(talk)
        assert found.state == "quoting"
        assert found.why == line(talk)
        market = found.markets[0]
        assert market.name == "BTC 2026-01-30 09:00-09:15"
        assert market.seconds_to_end == 898
        assert (market.best_bid_micros, market.best_ask_micros) == (490_000, 510_000)
        assert [(q.order_id, q.side, q.price_micros, q.state) for q in market.orders] == [
            (bid, "BUY", 490_000, "working"),
            (ask, "SELL", 510_000, "working"),
        ]
        assert market.bid.reason == market.ask.reason == ""
        assert 4_900_000 <= market.worst_case_loss_micros <= 5_100_000
        assert market.worst_case_limit_micros == 60_000_000
        assert found.worst_case_limit_micros == 150_000_000
        assert found.unproven is None  # It trades: that orders work is no news.


def test_orders_and_fills_are_counted_per_side() -> None:
    """Lesson 3."""
    with Talk() as talk:
        bid, _ = talk.quote()
        talk.fill(bid, "10")
        talk.ignore()
        found = status(talk)
        assert found.placed_buy >= 1
        assert found.placed_sell >= 1
        assert found.placed_buy + found.placed_sell == talk.agent.placed
        assert (found.fills_buy, found.fills_sell) == (1, 0)
        assert found.markets[0].inventory_micros == 10_000_000


def test_the_picture_travels_as_json_and_comes_back_the_same() -> None:
    with Talk() as talk:
        talk.quote()
        found = status(talk)
        assert msgspec.json.decode(msgspec.json.encode(found), type=Status) == found


def test_a_state_keeps_the_instant_at_which_it_began() -> None:
    with Talk() as talk:
        talk.connect()
        began = talk.ts
        assert talk.agent.state_since == began
        talk.tick(3)
        assert talk.agent.state_since == began
        talk.hear(FeedLost(ts=talk.ts, detail="gone"))
        talk.expect("alert warning: feed_lost", "cancel all")
        assert talk.agent.state_since == talk.ts
