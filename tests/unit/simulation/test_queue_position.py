"""Where an order of ours stands in its level's queue."""

import pytest

from turbine_agent.simulation.queue_position import QueuePosition


def test_a_new_order_joins_behind_all_that_is_displayed() -> None:
    assert QueuePosition(70).ahead_qty == 70


def test_a_trade_that_ends_within_the_queue_fills_nobody_behind_it() -> None:
    position = QueuePosition(70)
    assert position.traded(30) == 0
    assert position.ahead_qty == 40


def test_a_trade_of_exactly_the_queue_leaves_nothing_for_us_but_puts_us_in_front() -> None:
    position = QueuePosition(70)
    assert position.traded(70) == 0
    assert position.ahead_qty == 0
    assert position.traded(5) == 5


def test_what_a_trade_has_left_after_the_queue_is_ours() -> None:
    position = QueuePosition(70)
    assert position.traded(100) == 30
    assert position.ahead_qty == 0


def test_cancels_are_behind_us_until_less_is_displayed_than_we_thought_ahead() -> None:
    position = QueuePosition(70)
    position.level_changed(100)
    assert position.ahead_qty == 70
    position.level_changed(80)
    assert position.ahead_qty == 70
    position.level_changed(20)
    assert position.ahead_qty == 20


def test_what_joins_later_joins_behind_us() -> None:
    position = QueuePosition(70)
    position.level_changed(20)
    position.level_changed(500)
    assert position.ahead_qty == 20


def test_a_trade_that_is_reported_as_a_print_and_as_a_smaller_level_counts_once() -> None:
    position = QueuePosition(70)
    position.traded(30)
    position.level_changed(40)
    assert position.ahead_qty == 40


def test_an_emptied_level_has_nobody_ahead() -> None:
    position = QueuePosition(70)
    position.level_changed(0)
    assert position.ahead_qty == 0


def test_a_level_cannot_display_less_than_nothing() -> None:
    with pytest.raises(ValueError, match="-1"):
        QueuePosition(-1)
