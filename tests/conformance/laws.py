"""What holds in every conversation with every venue, whatever the card is about.

Each law looks at a finished conversation and yields what breaks it. `judge` runs them all, and is run after
every card: a bug that no card was written for still has to get past all of these, in all scenes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeVar

from tests.conformance.floor import Floor

from turbine_agent.model.commands import (
    CancelOrder,
    Command,
    PlaceOrder,
    ReadBook,
    ReadOpenOrders,
    ReadPositions,
    Subscribe,
    Unsubscribe,
    WakeAt,
)
from turbine_agent.model.events import (
    BalanceRead,
    BookDelta,
    BookSnapshot,
    CancelUnknown,
    Claimed,
    FeedConnected,
    FeedHeartbeat,
    Level,
    MarketClosed,
    MarketOpened,
    MarketResolved,
    OpenOrdersRead,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    PositionsRead,
    SettlementUpdated,
    SubmitUnknown,
    TimerFired,
)
from turbine_agent.model.ids import MarketId, OrderId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import Moved, SettlementStatus
from turbine_agent.model.units import SECOND, Nanos, nanos_from_seconds, notional
from turbine_agent.runtime.settings import LoopSettings

Question = type[ReadOpenOrders | ReadPositions]
Answer = type[OpenOrdersRead | PositionsRead | BalanceRead]
C = TypeVar("C", bound=Command)
Law = Callable[[Floor], Iterator[str]]

SILENCE_MAX = 2 * SECOND
"""The adapter keeps liveness observable by pinging every one or two seconds."""

LATE_FILL_MAX = nanos_from_seconds(LoopSettings().late_fill_s)
"""For so long the core counts an order that has left the book as if it could still be filled."""

DEPARTURE_MAX = SECOND
"""So long after a command a question leaves, at the latest."""

QUESTIONS: tuple[tuple[Question, Answer], ...] = (
    (ReadOpenOrders, OpenOrdersRead),
    (ReadPositions, PositionsRead),
    (ReadPositions, BalanceRead),
)


def time_never_goes_back(floor: Floor) -> Iterator[str]:
    for before, after in pairwise(floor.events):
        if after.ts < before.ts:
            yield f"{after} comes after {before}"


def the_feed_is_up_first_and_its_heart_beats(floor: Floor) -> Iterator[str]:
    if not isinstance(floor.events[0], FeedConnected):
        yield f"the first event is {floor.events[0]}"
    beats = [event.ts for event in floor.events if isinstance(event, (FeedConnected, FeedHeartbeat))]
    beats.append(floor.now)
    for before, after in pairwise(beats):
        if after - before > SILENCE_MAX:
            yield f"no heartbeat for {(after - before) / SECOND} s"


def every_placement_ends_in_one_answer(floor: Floor) -> Iterator[str]:
    sent = Counter(command.order_id for _, command in floor.commands if isinstance(command, PlaceOrder))
    ends = (OrderAccepted, OrderRejected, SubmitUnknown)
    answers = Counter(event.order_id for event in floor.events if isinstance(event, ends))
    for order_id in sent | answers:
        if sent[order_id] != answers[order_id]:
            yield f"{order_id} was sent {sent[order_id]} times and answered {answers[order_id]} times"


def every_cancel_is_answered(floor: Floor) -> Iterator[str]:
    """In time, by what became of the order or by the word that this is not known."""
    ends = (OrderCancelled, OrderExpired, OrderFilled, CancelUnknown)
    for ts, command in _given(floor, CancelOrder):
        due = ts + floor.manners.answer_s * SECOND
        told = (e for e in floor.events if isinstance(e, ends) and e.order_id == command.order_id)
        if due <= floor.now and not any(ts < event.ts <= due for event in told):
            yield f"the cancel of {command.order_id} at {ts} is not answered until {due}"


def every_question_is_answered(floor: Floor) -> Iterator[str]:
    """In time, each by an answer of its own; only who speaks unasked may give more."""
    for question, kind in QUESTIONS:
        asked, answers = _asked(floor, question), sorted(floor.heard(kind), key=lambda a: a.asked_ts)
        if not floor.manners.speaks_unasked and len(asked) != len(answers):
            yield f"{len(asked)} x {question.__name__}, {len(answers)} x {kind.__name__}"
        for ts in asked:
            due = ts + floor.manners.answer_s * SECOND
            fit = (a for a in answers if ts <= a.asked_ts < ts + DEPARTURE_MAX and a.ts <= due)
            answer = next(fit, None)
            if answer is not None:
                answers.remove(answer)
            elif due <= floor.now:
                yield f"{question.__name__} at {ts} has no answer of its own until {due}"


def every_book_that_is_asked_for_is_told(floor: Floor) -> Iterator[str]:
    """After each question by a snapshot; after each subscription that stands by one of both books."""
    snapshots = floor.heard(BookSnapshot)
    wanted = [(ts, c.market_id, c.outcome) for ts, c in _given(floor, ReadBook)]
    for ts, command in _given(floor, Subscribe):
        market_id, due = command.market_id, ts + floor.manners.answer_s * SECOND
        undone = Unsubscribe(market_id=market_id)
        place = next(index for index, (_, given) in enumerate(floor.commands) if given is command)
        ends = [floor.events[heard - 1].ts for heard, c in floor.commands[place:] if c == undone]
        ends += [event.ts for event in floor.heard(MarketClosed) if event.market_id == market_id]
        if all(end > due for end in ends):
            wanted += [(ts, market_id, outcome) for outcome in Outcome]
    if not floor.manners.speaks_unasked and len(snapshots) < len(wanted):
        yield f"{len(snapshots)} snapshots where at least {len(wanted)} were asked for"
    for ts, market_id, outcome in wanted:
        due = ts + floor.manners.answer_s * SECOND
        told = (s for s in snapshots if (s.market_id, s.outcome) == (market_id, outcome))
        if due <= floor.now and not any(ts < snapshot.ts <= due for snapshot in told):
            yield f"book {outcome.name} of {market_id} was asked for at {ts} and not told until {due}"


def an_answer_says_when_the_question_left(floor: Floor) -> Iterator[str]:
    for question, kind in QUESTIONS:
        answers = floor.heard(kind)
        for answer in answers:
            if answer.asked_ts > answer.ts:
                yield f"{answer} came before it was asked for"
        if not floor.manners.speaks_unasked:
            for ts, answer in zip(_asked(floor, question), answers, strict=False):
                if not ts <= answer.asked_ts:
                    yield f"asked at {ts}, answered by {answer}"


def _given(floor: Floor, kind: type[C]) -> list[tuple[Nanos, C]]:
    """All commands of a kind, each with the instant at which it was given."""
    return [(floor.events[heard - 1].ts, c) for heard, c in floor.commands if isinstance(c, kind)]


def _asked(floor: Floor, question: Question) -> list[Nanos]:
    return [ts for ts, _ in _given(floor, question)]


def an_order_fills_within_its_terms(floor: Floor) -> Iterator[str]:
    total: Counter[OrderId] = Counter()
    for fill in floor.heard(OrderFilled):
        terms = floor.terms.get(fill.order_id)
        if terms is None:
            yield f"{fill} of an order that we never sent"
            continue
        total[fill.order_id] += fill.qty
        if fill.qty <= 0 or total[fill.order_id] > terms.qty:
            yield f"{fill} makes {total[fill.order_id]} of {terms.qty}"
        if fill.price > terms.price if terms.side is Side.BUY else fill.price < terms.price:
            yield f"{fill} is worse than {terms.price}"
        if fill.ts >= terms.expires_ts + floor.manners.told_s * SECOND:
            yield f"{fill} comes after its order's end at {terms.expires_ts}"


def an_order_ends_once(floor: Floor) -> Iterator[str]:
    for order_id, terms in floor.terms.items():
        told = floor.fate(order_id)
        ends = told[OrderCancelled] + told[OrderExpired] + (floor.filled(order_id) == terms.qty)
        if ends > 1:
            filled = f"filled {floor.filled(order_id)} of {terms.qty}"
            yield f"{order_id} ended {ends} times: {dict(told)}, {filled}"
        if told[OrderRejected] and not told[OrderAccepted] and sum(told.values()) > 1:
            yield f"{order_id} was refused, and yet: {dict(told)}"


def a_late_fill_comes_while_the_core_reckons_with_it(floor: Floor) -> Iterator[str]:
    """For a while after an order's end, or until the end is told once more, which then has to come."""
    for order_id, terms in floor.terms.items():
        kinds = (OrderCancelled, OrderExpired)
        ends = [e for e in floor.events if isinstance(e, kinds) and e.order_id == order_id]
        over = [end.ts for end in ends if end.is_counted]
        for fill in floor.fills(order_id):
            if over and fill.ts > over[0] + LATE_FILL_MAX:
                yield f"{fill} comes {(fill.ts - over[0]) / SECOND} s after its order's end"
        for end in ends:
            due = end.ts + floor.manners.answer_s * SECOND
            is_owed = not end.is_counted and floor.filled(order_id) < terms.qty
            if is_owed and due <= floor.now and not any(end.ts <= ts <= due for ts in over):
                yield f"{end} is not counted until {due}"


def the_list_of_open_orders_is_true(floor: Floor) -> Iterator[str]:
    """What was known to be over when we asked is not in it; what was known to be open, and never ends, is."""
    for listed in floor.heard(OpenOrdersRead):
        lines = {order.order_id: order for order in listed.orders}
        if len(lines) < len(listed.orders):
            yield f"an order is listed twice at {listed.ts}"
        for order_id, terms in floor.terms.items():
            told = [event for event in floor.events if getattr(event, "order_id", None) == order_id]
            before = [event for event in told if event.ts <= listed.asked_ts]
            done_before = sum(event.qty for event in before if isinstance(event, OrderFilled))
            done = sum(event.qty for event in told if isinstance(event, OrderFilled))
            removals = (OrderCancelled, OrderExpired)
            line = lines.pop(order_id, None)
            if line is None:
                was_open = any(isinstance(event, OrderAccepted) for event in before)
                is_over = done == terms.qty or any(isinstance(event, removals) for event in told)
                if was_open and not is_over:
                    yield f"{order_id} is open and not listed at {listed.ts}"
                continue
            if done_before == terms.qty or any(isinstance(event, removals) for event in before):
                yield f"{order_id} is over and listed at {listed.ts}"
            if not done_before <= line.cum_qty <= done or line.cum_qty >= line.qty:
                yield f"{order_id} is listed with {line.cum_qty}, filled {done_before} ... {done}"
            for name in ("market_id", "outcome", "side", "price", "qty"):
                if getattr(line, name) != getattr(terms, name):
                    yield f"{order_id} is listed with another {name}: {line}"
        for order_id in lines:
            yield f"{order_id} is listed, but not ours"


def every_fill_has_an_id_and_is_settled_or_reversed_once(floor: Floor) -> Iterator[str]:
    fills = Counter((fill.order_id, fill.fill_id) for fill in floor.heard(OrderFilled))
    ends = Counter((event.order_id, event.fill_id) for event in floor.heard(SettlementUpdated))
    for key in fills | ends:
        if (fills[key], ends[key]) != (1, 1):
            yield f"{key} was filled {fills[key]} times and settled or reversed {ends[key]} times"
    matched: set[tuple[str, str]] = set()
    for event in floor.events:
        if isinstance(event, OrderFilled):
            matched.add((event.order_id, event.fill_id))
        elif isinstance(event, SettlementUpdated) and (event.order_id, event.fill_id) not in matched:
            yield f"{event} before its fill"


def a_settlement_corrects_estimates_and_fees_alone(floor: Floor) -> Iterator[str]:
    """Of a fill that was no estimate it may take back a fee that was not due, and nothing else."""
    fills = {(fill.order_id, fill.fill_id): fill for fill in floor.heard(OrderFilled)}
    for event in floor.heard(SettlementUpdated):
        fill, moved = fills.get((event.order_id, event.fill_id)), event.moved
        if fill is None or moved is None:
            continue
        told = _told(fill)
        if event.status is not SettlementStatus.SETTLED or moved == told:
            yield f"{event} corrects nothing"
        is_same = (moved.qty, moved.notional) == (told.qty, told.notional) and moved.fee <= told.fee
        if moved.qty > told.qty or not (fill.is_estimate or is_same):
            yield f"{event} is not of {fill}"


def _told(fill: OrderFilled) -> Moved:
    return Moved(qty=fill.qty, notional=notional(fill.price, fill.qty), fee=fill.fee)


def money_and_tokens_are_what_the_settled_fills_made_of_them(floor: Floor) -> Iterator[str]:
    """A twin of the account, kept from what was said, against what the venue says at the end: cash, and the
    tokens that are or may become worth something.
    """
    cash = int(floor.initial_cash)
    tokens: defaultdict[MarketId, list[int]] = defaultdict(lambda: [0, 0])
    fills = {(fill.order_id, fill.fill_id): fill for fill in floor.heard(OrderFilled)}
    winners: dict[MarketId, Outcome] = {}
    for event in floor.events:
        if isinstance(event, MarketResolved):
            winners[event.market_id] = event.winner
        elif isinstance(event, SettlementUpdated) and event.status is SettlementStatus.SETTLED:
            fill = fills[event.order_id, event.fill_id]
            terms = floor.terms[event.order_id]
            held = tokens[terms.market_id]
            moved = event.moved or _told(fill)
            if terms.side is Side.BUY:
                held[terms.outcome] += moved.qty
                cash -= moved.notional + moved.fee
            else:
                split = max(0, moved.qty - held[terms.outcome])
                held[0] += split
                held[1] += split
                held[terms.outcome] -= moved.qty
                cash += moved.notional - split - moved.fee
        elif isinstance(event, Claimed):
            winner = winners.get(event.market_id)
            due = 0 if winner is None else tokens[event.market_id][winner]
            if event.payout != due:
                yield f"{event}, where {due} is due"
            if winner is not None:
                tokens[event.market_id] = [0, 0]
            cash += event.payout
    last_held, last_cash = floor.heard(PositionsRead)[-1], floor.heard(BalanceRead)[-1]
    listed = floor.valued({line.market_id: (line.yes, line.no) for line in last_held.holdings})
    if listed != floor.valued({market_id: (yes, no) for market_id, (yes, no) in tokens.items()}):
        yield f"tokens {listed}, by what was settled {dict(tokens)}"
    if last_cash.cash != cash:
        yield f"cash {last_cash.cash}, by what was settled {cash}"


def books_are_sound(floor: Floor) -> Iterator[str]:
    """Sorted, one entry a price, no empty level in a snapshot, never crossed, a snapshot before changes."""
    books: dict[tuple[MarketId, Outcome], tuple[dict[int, int], dict[int, int]]] = {}
    for event in floor.events:
        if not isinstance(event, (BookSnapshot, BookDelta)):
            continue
        key = (event.market_id, event.outcome)
        if isinstance(event, BookSnapshot):
            books[key] = ({}, {})
            yield from _unsound(event.bids, event, falling=True)
            yield from _unsound(event.asks, event, falling=False)
        elif key not in books:
            yield f"{event} before any snapshot"
            continue
        bids, asks = books[key]
        for side, levels in ((bids, event.bids), (asks, event.asks)):
            if len(dict(levels)) < len(levels):
                yield f"a price twice in {event}"
            for price, qty in levels:
                if qty:
                    side[price] = qty
                elif side.pop(price, None) is None:
                    yield f"{event} removes {price}, which was not there"
        if bids and asks and max(bids) >= min(asks):
            yield f"crossed by {event}"


def _unsound(levels: tuple[Level, ...], event: BookSnapshot, *, falling: bool) -> Iterator[str]:
    prices = [price for price, _ in levels]
    if prices != sorted(set(prices), reverse=falling) or not all(qty > 0 for _, qty in levels):
        yield f"not a sound side: {levels} of {event.outcome.name} at {event.ts}"


def changes_lead_to_what_is_read(floor: Floor) -> Iterator[str]:
    """The last snapshot of a followed book is the answer to a question: the book that was kept equals it."""
    last = {(event.market_id, event.outcome): event for event in floor.heard(BookSnapshot)}
    for key, read in last.items():
        kept: tuple[dict[int, int], dict[int, int]] = ({}, {})
        was_kept = False
        for event in floor.events:
            if event is read:
                break
            if isinstance(event, (BookSnapshot, BookDelta)) and (event.market_id, event.outcome) == key:
                was_kept = True
                for side, levels in zip(kept, (event.bids, event.asks), strict=True):
                    if isinstance(event, BookSnapshot):
                        side.clear()
                    side.update(levels)
                    for price in [price for price, qty in side.items() if not qty]:
                        del side[price]
        if was_kept and kept != (dict(read.bids), dict(read.asks)) and _is_followed(floor, key[0], read):
            yield f"kept {kept}, read {read}"


def _is_followed(floor: Floor, market_id: MarketId, read: BookSnapshot) -> bool:
    """Whether the market was followed, and open, up to this snapshot."""
    is_followed = False
    heard_at = next(index for index, event in enumerate(floor.events) if event is read)
    for heard, command in floor.commands:
        if heard <= heard_at and isinstance(command, (Subscribe, Unsubscribe)):
            is_followed = isinstance(command, Subscribe) if command.market_id == market_id else is_followed
    closed = any(event.market_id == market_id for event in floor.heard(MarketClosed))
    return is_followed and not closed


def a_market_opens_closes_and_resolves_once_in_this_order(floor: Floor) -> Iterator[str]:
    lives: defaultdict[MarketId, list[str]] = defaultdict(list)
    for event in floor.events:
        if isinstance(event, MarketOpened):
            lives[event.market.market_id].append("opened")
            if not event.market.open_ts <= event.ts < event.market.close_ts:
                yield f"{event} outside of the market's life"
        elif isinstance(event, MarketClosed):
            lives[event.market_id].append("closed")
        elif isinstance(event, MarketResolved):
            lives[event.market_id].append("resolved")
    for market_id, life in lives.items():
        if life != ["opened", "closed", "resolved"][: len(life)]:
            yield f"{market_id} was {', '.join(life)}"


def a_timer_never_fires_early(floor: Floor) -> Iterator[str]:
    for index, event in enumerate(floor.events):
        if isinstance(event, TimerFired):
            asked = [c.at for heard, c in floor.commands if isinstance(c, WakeAt) and heard <= index]
            if not asked or event.ts < asked[-1]:
                yield f"{event}, asked for {asked[-1:]}"


LAWS: tuple[Law, ...] = (
    time_never_goes_back,
    the_feed_is_up_first_and_its_heart_beats,
    every_placement_ends_in_one_answer,
    every_cancel_is_answered,
    every_question_is_answered,
    every_book_that_is_asked_for_is_told,
    an_answer_says_when_the_question_left,
    an_order_fills_within_its_terms,
    an_order_ends_once,
    a_late_fill_comes_while_the_core_reckons_with_it,
    the_list_of_open_orders_is_true,
    every_fill_has_an_id_and_is_settled_or_reversed_once,
    a_settlement_corrects_estimates_and_fees_alone,
    money_and_tokens_are_what_the_settled_fills_made_of_them,
    books_are_sound,
    changes_lead_to_what_is_read,
    a_market_opens_closes_and_resolves_once_in_this_order,
    a_timer_never_fires_early,
)


def judge(floor: Floor) -> list[str]:
    """Everything that is wrong with a conversation in which all was answered and settled."""
    return [f"{law.__name__}: {breach}" for law in LAWS for breach in law(floor)]
