"""A crowded market: many small orders of others and of ours, in both books, close to each other.

Everything is drawn from generators with a fixed seed, so a crowd is the same each time.
"""

from __future__ import annotations

import random
from typing import Final

from tests.conformance.floor import Deed, Floor, Scene, deed

from turbine_agent.model.ids import OrderId
from turbine_agent.model.markets import Outcome, Side

DEEDS: Final = 80
ORDERS: Final = 60
BEGIN_S: Final = 15
END_S: Final = 175


def _deeds() -> tuple[Deed, ...]:
    """Half of them quote and stay a while, half come to take and leave at once."""
    draw = random.Random("crowd").random
    deeds: list[Deed] = []
    for number in range(DEEDS):
        at = BEGIN_S + 2 * number
        deeds.append(
            deed(
                f"{at}.{int(draw() * 999):03}",
                Side(int(draw() * 2)),
                str(3 + int(draw() * 20)),
                f"0.{45 + int(draw() * 11)}",
                Outcome(int(draw() * 2)),
                who=f"somebody-{number % 5}",
                until=str(at + (2 if number % 2 else 40)),
            )
        )
    return tuple(deeds)


CROWD: Final = Scene(deeds=_deeds())


def jostle(floor: Floor) -> None:
    """Send many orders into the crowd, good ones and impossible ones, and cancel some of them again."""
    draw = random.Random("ours").random
    sent: list[OrderId] = []
    for number in range(ORDERS):
        floor.until(str(20 + number * (END_S - 20) // ORDERS))
        sent.append(
            floor.place(
                Side(int(draw() * 2)),
                str(3 + int(draw() * 12)),
                f"0.{45 + int(draw() * 11)}",
                Outcome(int(draw() * 2)),
                life_s=(30, 65, 120, 200)[int(draw() * 4)],
            )
        )
        if draw() < 0.4:
            floor.cancel(sent[int(draw() * len(sent))])
        if draw() < 0.1:
            floor.open_orders()
    floor.until(str(END_S + 60))
