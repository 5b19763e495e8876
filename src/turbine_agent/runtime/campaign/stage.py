"""What a trial is played on: the exchange, the way there, one wallet; and what is noted meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from turbine_agent.exchange.turbine.client import ClientConfig
from turbine_agent.exchange.turbine.limits import TRADING, Operation, SigningGuard
from turbine_agent.exchange.turbine.signing import LocalSigner, TokenMinter, api_secret, wallet_secret
from turbine_agent.model.params import AgentParams
from turbine_agent.model.units import MICROS, SECOND, Money, Nanos
from turbine_agent.protocol.constants import POLYGON
from turbine_agent.runtime.campaign.network import Network
from turbine_agent.runtime.campaign.process import Account
from turbine_agent.runtime.campaign.weather import Plan
from turbine_agent.runtime.config import load, to_params
from turbine_agent.runtime.serve import KeyArithmetic
from turbine_agent.runtime.settings import Settings, to_signing_limits
from turbine_agent.simulation.exchange import SimulationParams
from turbine_agent.simulation.flow import FlowParams
from turbine_agent.simulation.latency import Latency, LatencyParams
from turbine_agent.simulation.scheduler import Scheduler
from turbine_agent.simulation.server.records import OrderRecord
from turbine_agent.simulation.server.rest import Rest
from turbine_agent.simulation.server.state import ServedExchange
from turbine_agent.simulation.server.switches import Switches

OPEN: Final = Nanos(1_769_904_000 * SECOND)
"""When the first market opens."""

WALLET_KEY: Final = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
"""A key from a well-known list of test keys. It never held anything; here it is also the canary (I12)."""

TAKER_FEE_PPM: Final = 10_000

QUIET_FLOW: Final = FlowParams(
    path_step_ns=Nanos(SECOND),
    house_levels=3,
    house_period_ns=Nanos(60 * SECOND),
    retail_makers=0,
    noise_burst_every_s=20.0,
    noise_burst_size=2.0,
    noise_accounts=3,
    informed_accounts=1,
)
"""A market with as many fills for us (about a hundred an hour) and few other orders: a campaign is about
troubles, not about books.
"""

WRONG_MAX: Final = 20
"""Findings of one trial that are kept: what is wrong after every event is told often enough."""


class Wrong(msgspec.Struct, frozen=True, kw_only=True):
    """Something that must not happen."""

    rule: str
    """I1 … I13, L1 … L3, or `crash`."""
    at_s: float
    """Seconds from the trial's begin."""
    event: int
    """Events that had been dealt with."""
    text: str


class WatchedExchange(ServedExchange):
    """An exchange that tells of every order as it comes in."""

    on_order: Callable[[OrderRecord], None] = staticmethod(lambda _: None)

    def submit(self, record: OrderRecord) -> int:
        self.on_order(record)
        return super().submit(record)


class Stage:
    """See the module's text."""

    def __init__(self, plan: Plan, scheduler: Scheduler, folder: Path, tell: Callable[[str], None]) -> None:
        """`folder` is for the journals; `tell` hears what happens, line by line."""
        self.plan = plan
        self.scheduler = scheduler
        self.folder = folder
        self.tell = tell
        world = plan.world
        simulation = SimulationParams(
            markets=None,
            tells_own_removal=False,
            interval_ns=Nanos(world.minutes * 60 * SECOND),
            settlement_failure_ppm=0,
            flow=QUIET_FLOW,
        )
        switches = Switches(assets=world.assets, old_markets=3, simulation=simulation)
        self.exchange = WatchedExchange(switches, plan.seed, scheduler, KeyArithmetic())
        self.calm_faults()
        latency = Latency(LatencyParams(), plan.seed)
        self.network = Network(self.exchange, Rest(self.exchange), latency, plan.seed)
        settings = load(None, {}).settings
        limits = to_signing_limits(settings, (*TRADING, Operation.REGISTRATION))
        guard = SigningGuard(limits, lambda: scheduler.now)
        signer = LocalSigner(wallet_secret(WALLET_KEY), POLYGON, guard=guard)
        self.address = signer.naming.trader
        key_id, secret = self.exchange.keys.register(self.address, signer.sign_registration())
        self.secrets = (WALLET_KEY, secret)
        self.minter = TokenMinter(key_id, api_secret(secret))
        self.account = Account(
            params=_params(settings),
            config=ClientConfig(
                chain=POLYGON,
                schedules=tuple((asset, world.minutes) for asset in world.assets),
                is_filtered=world.is_filtered,
                taker_fee_ppm=TAKER_FEE_PPM,
            ),
            signer=signer,
            minter=self.minter,
            chain_id=POLYGON.chain_id,
        )
        self.foreign: dict[str, OrderRecord] = {}
        """Orders of the wallet that are somebody else's."""
        self.events = 0
        """That the agent has dealt with."""
        self.is_ending = False
        """The agent was halted for the last time."""
        self.wrong: list[Wrong] = []
        self._struck: dict[str, int] = {}

    def calm_faults(self) -> None:
        """What this exchange does every day, and nothing else."""
        faults, world = self.exchange.faults, self.plan.world
        faults.restore()
        if world.has_bare_books:
            faults.set("bare-books", 1.0)
        if world.has_null_lists:
            faults.set("null-lists", 1.0)

    def working(self) -> list[OrderRecord]:
        """The agent's orders, as the exchange holds them."""
        return [r for r in self.exchange.orders.open_of(self.address) if r.order_id not in self.foreign]

    # -- time ----------------------------------------------------------------------------------------------

    @property
    def at_s(self) -> float:
        """Seconds since the first market opened."""
        return (self.scheduler.now - OPEN) / SECOND

    async def until(self, such: Callable[[], bool], within_s: float) -> bool:
        """Wait until something is so, looking every half second; whether it came."""
        end = self.scheduler.now + int(within_s * SECOND)
        while not such():
            if self.scheduler.now >= end:
                return False
            await asyncio.sleep(0.5)
        return True

    # -- notes ---------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Tell something, with the time."""
        self.tell(f"{self.at_s:9.1f} {text}")

    def note(self, rule: str, text: str) -> None:
        """A rule is broken."""
        if len(self.wrong) >= WRONG_MAX:
            return
        self.say(f"WRONG {rule}: {text}")
        self.wrong.append(Wrong(rule=rule, at_s=self.at_s, event=self.events, text=text))

    def count(self, trouble: str) -> None:
        """A trouble that the trial makes itself has struck."""
        self._struck[trouble] = self._struck.get(trouble, 0) + 1

    def counts(self) -> dict[str, int]:
        """How often each trouble has struck, those of the exchange and the network with them."""
        counts = dict(self.exchange.faults.struck)
        counts |= self.network.struck
        for name, count in self._struck.items():
            counts[name] = counts.get(name, 0) + count
        return counts


def _params(settings: Settings) -> AgentParams:
    """The defaults, with drawdowns out of reach: whether the doctrine earns is another question."""
    params = to_params(settings)
    risk = msgspec.structs.replace(
        params.risk, soft_drawdown=Money(100_000 * MICROS), hard_drawdown=Money(200_000 * MICROS)
    )
    loop = msgspec.structs.replace(params.loop, tick_interval_ns=Nanos(SECOND))
    return msgspec.structs.replace(params, risk=risk, loop=loop)
