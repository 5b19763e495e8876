"""Foreign texts on one line, and instants."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from turbine_agent.model.units import SECOND
from turbine_agent.runtime.words import TEXT_MAX, counted, lasting, one_line, utc, utc_date


@given(st.text(max_size=2_000))
@example("\x1b[31mred\x1b[0m\r\nfake: log line")
@example("\u202eevil")
@example("a\x00b\x7fc\x9bd")
@example("\\x1b")
def test_nothing_a_terminal_or_a_log_could_trip_over_gets_through(text: str) -> None:
    shown = one_line(text)
    assert shown.isprintable()
    assert len(shown) <= TEXT_MAX


def test_what_was_there_is_shown_and_cannot_be_forged() -> None:
    assert one_line("a\x1b[0m") == "a\\x1b[0m"
    assert one_line("a\\x1b[0m") == "a\\\\x1b[0m"
    assert one_line("Grüße, 世界") == "Grüße, 世界"


def test_a_long_text_says_that_it_was_cut() -> None:
    assert one_line("x" * 1_000, 20) == "x" * 17 + "..."
    assert one_line("x" * 20, 20) == "x" * 20


def test_spans_and_instants_read_well() -> None:
    assert lasting(12 * SECOND) == "12 s"
    assert lasting(185 * SECOND) == "3 min 05 s"
    assert lasting((2 * 3600 + 7 * 60 + 59) * SECOND) == "2 h 07 min"
    assert lasting(-5) == "0 s"
    assert utc(1_769_763_605 * SECOND) == "09:00:05 UTC"
    assert utc_date(1_769_763_605 * SECOND) == "2026-01-30 09:00:05 UTC"
    assert counted(1, "order") == "1 order"
    assert counted(2, "order") == "2 orders"
