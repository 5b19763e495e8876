"""Replays: identical bytes, or the first difference by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.journaled import Tape
from tests.kit import MARKET, params
from tests.scenario.playbook import Talk

from turbine_agent.exchange.turbine.signing import Naming
from turbine_agent.journal import JournalReader
from turbine_agent.journal.records import encode
from turbine_agent.model.commands import CancelAll, PlaceOrder
from turbine_agent.model.events import BookSnapshot
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderTerms, digest_order_id
from turbine_agent.model.units import Price, Qty
from turbine_agent.protocol.constants import ZERO_ADDRESS
from turbine_agent.runtime.backtest import backtest
from turbine_agent.runtime.replay import ReplayError, identify_by, naming_of, replay
from turbine_agent.runtime.scribe import FLUSH_EVERY
from turbine_agent.runtime.simulate import SimulateOptions, simulate

ROOT = Path(__file__).parents[3]


@pytest.fixture
def tape() -> Tape:
    """A session in which two quotes are placed, and one is filled."""
    with Talk() as talk:
        bid, _ = talk.quote()
        talk.fill(bid, "10")
        talk.ignore()
        talk.tick()
        talk.ignore()
    return talk._tape


def place(tape: Tape, kind: type) -> int:
    """Which step has the first event of a type."""
    return next(index for index, (event, _) in enumerate(tape.steps) if isinstance(event, kind))


def write(tape: Tape, path: Path) -> Path:
    tape.write(path)
    return path


def test_what_was_taken_down_is_replayed_to_identical_bytes(tape: Tape, tmp_path: Path) -> None:
    (found,) = replay(write(tape, tmp_path / "j"))
    assert found.is_identical
    assert found.events == len(tape.steps)
    assert found.commands == sum(len(commands) for _, commands in tape.steps) > 5
    assert (found.unfinished, found.raised) == (0, None)


def test_an_input_that_was_another_one_is_named(tape: Tape, tmp_path: Path) -> None:
    """One micro-dollar in a book: the commands are no longer what follows from the events."""
    step = place(tape, BookSnapshot)
    event, commands = tape.steps[step]
    assert isinstance(event, BookSnapshot)
    price, qty = event.bids[0]
    other: Any = msgspec.structs.replace(event, bids=((Price(price - 2_000), qty),))
    tape.steps[step] = (other, commands)
    (found,) = replay(write(tape, tmp_path / "j"))
    difference = found.difference
    assert difference is not None
    assert not found.is_identical
    with JournalReader.open(tmp_path / "j") as reader:
        record = next(r for r in reader.records() if r.seq == difference.seq)
    assert (record.type, difference.event) == ("BookSnapshot", "BookSnapshot")
    assert difference.position == 1
    assert difference.expected is not None
    assert difference.got is not None
    assert '"price":490000' in difference.expected
    assert '"price":489000' in difference.got


def test_a_command_that_was_another_one_is_named(tape: Tape, tmp_path: Path) -> None:
    step = place(tape, BookSnapshot)
    event, (first, second, *rest) = tape.steps[step]
    assert isinstance(second, PlaceOrder)
    terms = msgspec.structs.replace(second.terms, qty=second.terms.qty + 1)
    tape.steps[step] = (event, [first, msgspec.structs.replace(second, terms=terms), *rest])
    (found,) = replay(write(tape, tmp_path / "j"))
    assert found.difference is not None
    assert found.difference.position == 2
    assert found.events == step + 1


@pytest.mark.parametrize("missing", [0, 1])
def test_a_command_too_few_and_one_too_many_are_named(tape: Tape, tmp_path: Path, missing: int) -> None:
    step = place(tape, BookSnapshot)
    event, commands = tape.steps[step]
    count = len(commands)
    tape.steps[step] = (event, commands[:-1] if missing else [*commands, CancelAll(market_id=None)])
    (found,) = replay(write(tape, tmp_path / "j"))
    difference = found.difference
    assert difference is not None
    assert difference.position == count + 1 - missing
    assert (difference.expected is None, difference.got is None) == (bool(missing), not missing)


def test_other_parameters_are_another_agent(tape: Tape, tmp_path: Path) -> None:
    tape.header = msgspec.structs.replace(tape.header, params=params(strategy={"base_spread": 30_000}))
    (found,) = replay(write(tape, tmp_path / "j"))
    assert found.difference is not None
    assert found.difference.event == "BookSnapshot"


def test_a_run_that_was_cut_off_within_its_last_event_is_identical_as_far_as_it_goes(
    tape: Tape, tmp_path: Path
) -> None:
    step = place(tape, BookSnapshot)
    event, commands = tape.steps[step]
    tape.steps = [*tape.steps[:step], (event, commands[:1])]
    (found,) = replay(write(tape, tmp_path / "j"))
    assert found.is_identical
    assert found.unfinished == len(commands) - 1 > 0


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_bug_is_how_the_run_ended_or_a_difference_if_it_went_on(
    tape: Tape, tmp_path: Path, *, goes_on: bool
) -> None:
    """A grid of nothing, which no setting allows, is divided by at the first quote."""
    tape.header = msgspec.structs.replace(tape.header, params=params(strategy={"quote_tick": 0}))
    step = place(tape, BookSnapshot)
    event, commands = tape.steps[step]
    if not goes_on:
        tape.steps = [*tape.steps[:step], (event, [])]
    (found,) = replay(write(tape, tmp_path / "j"))
    assert found.raised is not None
    assert found.raised.startswith("ZeroDivisionError: ")
    assert found.events == step + 1
    assert found.is_identical is not goes_on
    if found.difference is not None:
        assert found.difference.got == found.raised
        assert found.difference.expected == encode(commands[0]).decode()


def test_each_run_is_replayed_by_an_agent_of_its_own(tape: Tape, tmp_path: Path) -> None:
    tape.write(tmp_path / "j")
    tape.write(tmp_path / "j")
    first, second = replay(tmp_path / "j")
    assert (first.run, second.run) == (1, 2)
    assert first.digest == second.digest
    assert replay(tmp_path / "j", only=2) == (second,)
    with pytest.raises(ReplayError, match="there is no run 3\n  do: it has runs 1 to 2"):
        replay(tmp_path / "j", only=3)


def test_a_strategy_that_is_not_here_is_said_to_be_missing(tape: Tape, tmp_path: Path) -> None:
    tape.header = msgspec.structs.replace(tape.header, strategy="avellaneda")
    with pytest.raises(ReplayError, match="the strategy avellaneda, which this version does not have"):
        replay(write(tape, tmp_path / "j"))


def test_a_naming_gives_the_same_ids_after_it_went_through_a_header() -> None:
    naming = Naming(trader="0x70997970C51812dc3A010C7d01b50e0d17dc79C8", maker_fee_recipient=ZERO_ADDRESS)
    talk = Talk()
    terms = OrderTerms(
        market_id=MARKET.market_id,
        outcome=Outcome.YES,
        side=Side.BUY,
        price=Price(1),
        qty=Qty(2),
        nonce=3,
        expires_s=4,
    )
    assert identify_by(naming_of(naming))(terms) == naming.identify(terms)
    assert naming.identify(terms) != digest_order_id(terms)
    assert identify_by(talk._tape.header.naming)(terms) == digest_order_id(terms)


# -- what sim and backtest write -----------------------------------------------------------------------------


def test_a_simulation_replays_to_its_own_digest_and_the_same_seed_makes_the_same_journal(
    tmp_path: Path,
) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    report = simulate(params(), SimulateOptions(seed=5, markets=1, journal=a))
    simulate(params(), SimulateOptions(seed=5, markets=1, journal=b))
    with JournalReader.open(a) as reader, JournalReader.open(b) as other:
        (run,) = reader.runs()
        assert run.header.source == "turbine-agent sim --seed 5"
        assert run.header.params == params()
        assert reader.last_seq > FLUSH_EVERY, "more than one flush"
        assert reader.verify() == other.verify()
    (found,) = replay(a)
    assert found.is_identical
    assert found.digest == report.digest
    assert (found.unfinished, found.raised) == (0, None)


def test_each_session_of_a_backtest_is_a_run_and_a_journal_that_is_there_is_continued(tmp_path: Path) -> None:
    path = ROOT / "examples" / "two-markets.jsonl.gz"
    report = backtest(params(), (path,), journal=tmp_path / "j")
    runs = replay(tmp_path / "j")
    assert len(runs) == len(report.sessions)
    assert all(run.is_identical for run in runs)
    assert [run.mode for run in runs] == ["backtest"] * len(runs)
    again = backtest(params(), (path,), journal=tmp_path / "j")
    assert again.digest == report.digest
    with JournalReader.open(tmp_path / "j") as reader:
        assert [run.number for run in reader.runs()] == list(range(1, 2 * len(runs) + 1))
        assert reader.verify().commands == 2 * sum(run.commands for run in runs)
