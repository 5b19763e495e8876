"""What goes wrong in a trial: every trouble there is, and which of them a seed has in store.

A *trouble* has a name, the rows of the fault catalogue that it stands for, and a kind that says who makes it:

    exchange   a fault of the served exchange (`simulation.server.faults`), with a rate and perhaps a scope
    network    the way there: nothing gets through, much gets lost, everything takes long
    process    the agent's process: killed, without power, raising, standing still, with a wrong clock
    disk       the journal's disk: full, or failing
    person     somebody halts the agent, or uses its wallet elsewhere

A *plan* is drawn from a seed: first which troubles this seed knows at all (a quarter of them: a swarm of
different worlds finds more than one world with everything in it), then episodes of one to three of them, with
quiet in between. Every draw has a stream of chance of its own, so a plan without one of its troubles is
otherwise the same: that is what makes it shrinkable.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from turbine_agent.simulation.chance import Chance
from turbine_agent.simulation.server.faults import FAULTS, SCOPES


class Kind(StrEnum):
    """Who makes a trouble."""

    EXCHANGE = "exchange"
    NETWORK = "network"
    PROCESS = "process"
    DISK = "disk"
    PERSON = "person"


class Trouble(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Something that can go wrong."""

    name: str
    kind: Kind
    what: str
    patience_s: float
    """How long after its end the agent may take until it quotes again, seconds."""


USUAL_S: Final = 20.0
"""What is demanded of every single transient fault that does not say otherwise (controls, L2)."""

TRANSIENT_S: Final = 60.0
"""Up to so long a trouble is a transient one."""

EXPIRY_S: Final = 125.0
"""Where orders' fates cannot be known before they cannot arrive or live any more: 90 s, and proof. So long it
may take after several troubles at once, or after one that was no transient.
"""

NEXT_MARKET_S: Final = 1_000.0
"""Where it is the next market that is traded again."""

PATIENCE: Final[dict[str, float]] = {
    # The next market is shown, or the one after it.
    "market-late": 240.0,
    "market-missing": NEXT_MARKET_S,
    # A market that was changed, or that has a twin, is left for good: the next one is traded.
    "market-twin": NEXT_MARKET_S,
    "end-later": NEXT_MARKET_S,
    "strike-moved": NEXT_MARKET_S,
    "strike-zero": NEXT_MARKET_S,
    "other-settlement": NEXT_MARKET_S,
    "other-chain": NEXT_MARKET_S,
    # A person looks, more than once if the exchange's figures are still on their way.
    "hidden-cash": EXPIRY_S,
    "altered-orders": EXPIRY_S,
    "worse-fills": EXPIRY_S,
    "over-fills": EXPIRY_S,
    "resolved-twice": EXPIRY_S,
    "wrong-side-fills": EXPIRY_S,
    "fills-forgotten": EXPIRY_S,
}

LIES: Final = frozenset(
    {
        "altered-orders",
        "fills-forgotten",
        "hidden-cash",
        "over-fills",
        "resolved-twice",
        "worse-fills",
        "wrong-side-fills",
    }
)
"""What the exchange says of orders and money and is not so: whoever notices it latches, and a person adopts
its figures. It may come out long after it was told.
"""

READINGS: Final = frozenset(
    {
        "swapped-sides",
        "prices-1e4",
        "strike-1e8",
        "bare-books",
        "upper-case-status",
        "ws-merged",
        "renamed-fields",
        "null-lists",
    }
)
"""Other readings of the protocol: an exchange does not change those within an hour."""

LEFT_OUT: Final = READINGS | {
    "get-order-lag",
    "rollover-null",
    "rollover-204",
}
"""What an exchange does always, or never begins to do."""

OWN: Final = (
    ("net-down", Kind.NETWORK, "no host is found, and nothing more comes through the connections there are"),
    ("net-loss", Kind.NETWORK, "requests, answers and pings get lost"),
    ("net-slow", Kind.NETWORK, "requests, answers and pings take two seconds longer"),
    ("kill", Kind.PROCESS, "the process is killed, at a labelled place or at random"),
    ("power-loss", Kind.PROCESS, "the machine loses its power, and the disk what was not synced"),
    (
        "crash",
        Kind.PROCESS,
        "something in the process raises: its loop, what hears a stream, or what asks something",
    ),
    ("standstill", Kind.PROCESS, "the process does not run for 3 s to 10 min, while the world goes on"),
    ("clock-wrong", Kind.PROCESS, "a process is started with a clock that is off by 3 s to an hour"),
    ("disk-full", Kind.DISK, "the disk is full"),
    ("disk-error", Kind.DISK, "the disk fails at a sync"),
    ("operator-halt", Kind.PERSON, "a person halts the agent"),
    ("foreign-order", Kind.PERSON, "somebody else places an order with the agent's wallet"),
)

TROUBLES: Final[dict[str, Trouble]] = {
    **{
        fault.name: Trouble(
            name=fault.name,
            kind=Kind.EXCHANGE,
            what=fault.what,
            patience_s=PATIENCE.get(fault.name, USUAL_S),
        )
        for fault in FAULTS
        if fault.name not in LEFT_OUT
    },
    **{
        name: Trouble(name=name, kind=kind, what=what, patience_s=PATIENCE.get(name, USUAL_S))
        for name, kind, what in OWN
    },
}
"""All that a plan may hold, by name."""

OCCASIONAL: Final = frozenset(
    {
        "claim-failure",
        "claim-refused",
        "foreign-order",
        "market-late",
        "market-missing",
        "other-settlement",
        "over-fills",
        "resolved-twice",
        "settlement-failure",
        "worse-fills",
        "wrong-side-fills",
    }
)
"""What needs an occasion: a market's begin or its claim, a fill. An episode waits for it, up to a market's
life, as long as it has struck less than `OCCASIONS` times in a trial.
"""

OCCASIONS: Final = 10

OCCASION_RATES: Final = (0.5, 1.0)
"""They come seldom enough."""

OCCASION_S: Final = 10.0
"""How long it goes on once it has struck."""

RATES: Final = (0.05, 0.2, 0.5, 1.0)
SERIES: Final = ("BTC", "ETH", "SOL")
MORE_SERIES: Final = (0.35, 0.2)
"""Chances of a second and of a third series of markets: most trials have one."""

KNOWN_SHARE: Final = 0.25
"""Share of the troubles that one seed knows."""

LABELS: Final = (
    "recovered",
    "restored",
    "intent",
    "intent-durable",
    "order-signed",
    "order-answered",
    "cancel-answered",
    "cancel-all-sending",
    "money-told",
    "money-booked",
    "checkpoint",
    "claim-signed",
    "claim-sent",
)
"""Places of the order path and of a claim at which a process can be ended."""

_SCOPED: Final = frozenset(fault.name for fault in FAULTS if fault.has_scope)


class Strike(msgspec.Struct, frozen=True, kw_only=True):
    """One trouble in one episode. What its numbers mean depends on the trouble."""

    name: str
    rate: float
    """Chance each time it could strike, 0 ... 1."""
    scope: str | None = None
    """Kind of request; of a process that ends: the label at which it does, None: at once."""
    size: float = 0.0
    """Anywhere from 0 to 1: how long, how much, how soon."""


class Episode(msgspec.Struct, frozen=True, kw_only=True):
    """Quiet, then troubles, then quiet."""

    quiet_s: float
    """Before it."""
    lasts_s: float
    strikes: tuple[Strike, ...]


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What is so for a whole trial."""

    assets: tuple[str, ...]
    minutes: int
    """Life of a market."""
    is_filtered: bool
    """One stream an outcome, or the merged one and REST."""
    has_guardian: bool
    drift_ppm: int
    """How much too fast the agent's clock runs."""
    has_bare_books: bool
    has_null_lists: bool


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A trial, as data."""

    seed: int
    minutes: float
    """No episode begins later; without any, how long it lasts."""
    world: World
    episodes: tuple[Episode, ...]


def draw(seed: int, minutes: float, names: tuple[str, ...]) -> Plan:
    """The plan of a seed, `minutes` long, from the troubles `names`."""
    chance = Chance("campaign-world", seed)
    world = World(
        assets=SERIES[: 1 + sum(chance.uniform() < share for share in MORE_SERIES)],
        minutes=15 if chance.happens(0.5) else 5,
        is_filtered=chance.happens(0.5),
        has_guardian=chance.happens(0.7),
        drift_ppm=int(100 * chance.uniform()) - 50,
        has_bare_books=chance.happens(0.2),
        has_null_lists=chance.happens(0.3),
    )
    known = [name for name in names if Chance(f"campaign-knows-{name}", seed).happens(KNOWN_SHARE)]
    if names and not known:
        known = [names[seed % len(names)]]
    episodes: list[Episode] = []
    total = 0.0
    while known and total < minutes * 60 - 180:
        episode = _episode(Chance(f"campaign-episode-{len(episodes)}", seed), known)
        episodes.append(episode)
        total += episode.quiet_s + episode.lasts_s
    return Plan(seed=seed, minutes=minutes, world=world, episodes=tuple(episodes))


def _episode(chance: Chance, known: list[str]) -> Episode:
    quiet_s = 30 + 30 * chance.uniform()
    lasts_s = 5 + 55 * chance.uniform()
    if chance.happens(0.1):
        lasts_s *= 4
    wanted = 1 if chance.happens(0.5) else 2 + int(2 * chance.uniform())
    strikes: dict[str, Strike] = {}
    for _ in range(wanted):
        strike = _strike(chance, chance.one_of(known))
        strikes[strike.name] = strike
    return Episode(quiet_s=quiet_s, lasts_s=lasts_s, strikes=tuple(strikes.values()))


def _strike(chance: Chance, name: str) -> Strike:
    scope = None
    if name in _SCOPED and chance.happens(0.6):
        scope = chance.one_of(SCOPES)
    elif name in {"kill", "power-loss"} and chance.happens(0.7):
        scope = chance.one_of(LABELS)
    rates = OCCASION_RATES if name in OCCASIONAL else RATES
    return Strike(name=name, rate=chance.one_of(rates), scope=scope, size=chance.uniform())
