"""Queues of subscribers: what shares a frame, who hears what, and each way in which a stream can fail."""

from __future__ import annotations

import pytest

from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome
from turbine_agent.simulation.server.faults import Faults
from turbine_agent.simulation.server.stream import CUT, FRAME_MAX, QUEUE_MAX, WISHES_MAX, Hub, Subscriber

MARKET = MarketId("0xm")
WISH = (MARKET, None)


class Floor:
    """A hub with one subscriber that follows one market."""

    def __init__(self, *faults: str) -> None:
        self.faults = Faults(1)
        for word in ("none", *faults):
            self.faults.ask(word)
        self.woken = 0
        self.hub = Hub(self.faults)
        self.subscriber = Subscriber(self._wake)
        self.hub.join(self.subscriber)
        self.hub.wish(self.subscriber, WISH)

    def _wake(self) -> None:
        self.woken += 1

    def tell(self, *lines: str) -> None:
        for line in lines:
            self.hub.publish("0xm", None, line)

    def frames(self, *, batches: bool = False) -> list[str]:
        found: list[str] = []
        while (frame := self.subscriber.take_frame(batches=batches)) is not None:
            found.append(frame)
        return found


def test_what_waits_shares_a_frame_one_line_each() -> None:
    floor = Floor()
    floor.tell("a", "b", "c")
    assert floor.woken == 3
    assert floor.frames(batches=True) == ["a\nb\nc"]
    floor.tell("a", "b", "c")
    assert floor.frames(batches=False) == ["a", "b", "c"]


def test_a_frame_stays_below_its_limit() -> None:
    floor = Floor()
    line = "x" * (FRAME_MAX // 3)
    floor.tell(*[line] * 7)
    frames = floor.frames(batches=True)
    assert sum(frame.count(line) for frame in frames) == 7
    assert len(frames) > 2
    assert all(len(frame) <= FRAME_MAX for frame in frames)


def test_each_hears_what_it_asked_for() -> None:
    floor = Floor()
    hub = floor.hub
    yes = Subscriber(lambda: None)
    hub.join(yes)
    hub.wish(yes, ("0xm", Outcome.YES))
    hub.publish("0xm", Outcome.YES, "yes")
    hub.publish("0xm", Outcome.NO, "no")
    hub.publish("0xm", None, "both")
    hub.publish("0xother", None, "other")
    assert yes.take_frame(batches=True) == "yes"
    assert floor.frames() == ["both"]
    assert hub.is_followed(MARKET)
    hub.unwish(yes, "0xm")
    hub.leave(floor.subscriber)
    hub.leave(floor.subscriber)
    assert not hub.is_followed(MARKET)
    assert hub.subscribers == 1


def test_wishing_twice_is_wishing_once_and_there_is_an_end_to_wishes() -> None:
    floor = Floor()
    floor.hub.wish(floor.subscriber, WISH)
    floor.tell("a")
    assert floor.frames() == ["a"]
    for number in range(2 * WISHES_MAX):
        floor.hub.wish(floor.subscriber, (f"0x{number}", None))
    assert len(floor.subscriber.wishes) == WISHES_MAX


def test_one_that_does_not_read_is_cut_off() -> None:
    floor = Floor()
    floor.tell(*["a"] * (QUEUE_MAX + 1))
    assert floor.subscriber.close_code == CUT
    assert floor.frames() == []
    assert floor.hub.cut_off == 1


@pytest.mark.parametrize("name", ["ws-silent", "ws-frozen"])
def test_silence_lasts_even_when_the_fault_is_over(name: str) -> None:
    floor = Floor()
    floor.tell("a")
    floor.faults.set(name, 1.0)
    floor.tell("b")
    floor.faults.clear()
    floor.tell("c")
    assert floor.frames() == ["a"]
    assert floor.subscriber.is_silent
    assert floor.subscriber.is_frozen is (name == "ws-frozen")
    assert floor.subscriber.close_code is None


@pytest.mark.parametrize(("name", "code", "left"), [("ws-drop-1000", 1000, ["a"]), ("ws-drop-1006", CUT, [])])
def test_a_dropped_stream_ends_with_its_code(name: str, code: int, left: list[str]) -> None:
    floor = Floor()
    floor.tell("a")
    floor.faults.set(name, 1.0)
    floor.tell("b")
    assert floor.subscriber.close_code == code
    assert floor.frames() == left


@pytest.mark.parametrize(
    ("name", "heard"),
    [("ws-duplicate", ["a", "b", "b", "c"]), ("ws-lost", ["a", "c"]), ("ws-reordered", ["a", "c", "b"])],
)
def test_a_message_comes_twice_never_or_late(name: str, heard: list[str]) -> None:
    floor = Floor()
    floor.tell("a")
    floor.faults.set(name, 1.0)
    floor.tell("b")
    floor.faults.clear()
    floor.tell("c")
    assert floor.frames() == heard
    assert floor.faults.struck[name] == 1


def test_garbage_comes_on_top_of_the_truth() -> None:
    floor = Floor("ws-garbage=1")
    floor.tell("a", "b")
    frames = floor.frames()
    assert [frames[0], frames[2]] == ["a", "b"]
    assert len(set(frames)) == 4
