"""The catalogue of faults: what can go wrong, how it is made to, what is demanded, and which tests show it.

Sixty-eight entries, F01 to F68, each once. `injected` says by what means, in words that can be checked:

    exchange: NAME, ...   faults of the served exchange (`turbine-agent exchange --fault`)
    weather: NAME, ...    faults between the core and the simulated exchange (`tests/fault/weather.py`)
    proxy: NAME, ...      the bad line (`tests/e2e/proxy.py`)
    campaign: NAME, ...   troubles of `turbine-agent campaign` that are not faults of the exchange's
    process: ...          a real process is killed, stopped or starved
    test: ...             the test says it itself

`shown` names tests, `file::function`, whose failing would mean that the entry does not hold. What they do not
show, and what the agent does not do yet, stands in `still_open`, plainly; an entry with that is not done.

docs/faults.md is made from this, by `python -m tests.fault.catalogue > docs/faults.md`; a test compares them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).resolve().parents[2]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One fault."""

    number: int
    title: str
    injected: tuple[str, ...] = ()
    expected: str
    shown: tuple[str, ...] = ()
    still_open: str = ""

    @property
    def name(self) -> str:
        return f"F{self.number:02}"


WIRE: Final = "tests/e2e/test_agent_on_the_wire.py"
MORE: Final = "tests/e2e/test_more_faults_on_the_wire.py"
WEATHER: Final = "tests/scenario/test_bad_weather.py"
HALTS: Final = "tests/scenario/test_halts.py"
LESSONS: Final = "tests/scenario/test_lessons.py"
SESSION: Final = "tests/unit/exchange/turbine/test_session.py"
FILLS: Final = "tests/unit/exchange/turbine/test_fills.py"
ROLLOVER: Final = "tests/unit/exchange/turbine/test_rollover.py"
LIMITS: Final = "tests/unit/exchange/turbine/test_limits.py"
HOSTILE: Final = "tests/property/test_wire_hostile.py"
GUARDIAN: Final = "tests/e2e/test_guardian.py"
JOURNAL: Final = "tests/unit/journal/test_writer.py"
RUN: Final = "tests/e2e/test_run.py"
STANDSTILL: Final = "tests/e2e/test_turbine_client_standstill.py"
VITALS: Final = "tests/unit/exchange/turbine/test_vitals.py"
SIGNING: Final = "tests/unit/exchange/turbine/test_signing.py"
LIFE: Final = "tests/scenario/test_quoting_life.py"
POWER: Final = "tests/property/test_journal.py"
ALERTS: Final = "tests/unit/runtime/test_alerts.py"
LOGS: Final = "tests/unit/runtime/test_logs.py"
TRANSPORT: Final = "tests/e2e/test_turbine_transport.py"
CLIENT: Final = "tests/e2e/test_turbine_client.py"
PARSING: Final = "tests/unit/exchange/turbine/test_wire.py"
SIGNER: Final = "tests/unit/runtime/test_signer_process.py"
SETTINGS: Final = "tests/unit/runtime/test_config.py"
CANCELS: Final = "tests/e2e/test_cancel_all.py"
ORDERS: Final = "tests/property/test_order_table.py"
CLOCK: Final = "tests/unit/exchange/turbine/test_clock.py"
TRIALS: Final = "tests/fault/test_campaign.py"
CAMPAIGN: Final = "tests/fault/test_fault_campaign.py::test_bad_weather_costs_no_more_than_time"
STREAM: Final = f"{WIRE}::test_trouble_with_the_stream_pulls_the_quotes_and_passes"
REQUESTS: Final = f"{WIRE}::test_trouble_with_requests_doubles_nothing_and_passes"

GROUPS: Final = (
    (1, "Market data"),
    (19, "Clock"),
    (23, "REST and the order path"),
    (50, "Life of a market"),
    (55, "Process, host, storage"),
)
"""The number at which each group begins."""

CATALOGUE: Final = (
    Entry(
        number=1,
        title="connected, pongs come, no data",
        injected=("exchange: ws-silent",),
        expected="quotes gone within seconds, found by comparing with REST; resync, then quotes again",
        shown=(STREAM, f"{SESSION}::test_a_change_that_the_stream_does_not_mention_is_a_gap"),
    ),
    Entry(
        number=2,
        title="half-open TCP",
        injected=("exchange: ws-frozen", "proxy: swallows_to_agent, swallows_to_exchange"),
        expected="no pong: feed lost within 6 s. If only the exchange hears nothing and its stream goes on:"
        " gap or silence within 16 s, when questions stay unanswered",
        shown=(
            STREAM,
            f"{MORE}::test_f02_a_half_open_line_is_found_out_by_time_alone",
            f"{SESSION}::test_silence_is_detected_by_time_alone",
        ),
    ),
    Entry(
        number=3,
        title="disconnects, flapping",
        injected=(
            "exchange: ws-drop-1000, ws-drop-1006, ws-refused",
            "weather: flapping",
            "proxy: cut_after_bytes",
        ),
        expected="pulled at the first loss; back-off with jitter; a flapping connection is left alone for a"
        " while",
        shown=(
            STREAM,
            f"{SESSION}::test_a_flapping_connection_is_left_alone_for_a_while",
            f"{MORE}::test_f48_on_a_bad_line_nothing_is_doubled_and_all_is_well_after_it",
            CAMPAIGN,
        ),
    ),
    Entry(
        number=4,
        title="subscribed, never a snapshot",
        injected=("exchange: ws-no-snapshot",),
        expected="no quote without a book; the connection is made anew, and an alert says why",
        shown=(
            STREAM,
            f"{SESSION}::test_a_subscription_that_nobody_confirms_is_a_broken_connection",
            f"{WIRE}::test_f04_a_subscription_that_never_brings_a_book_is_never_quoted_on",
        ),
    ),
    Entry(
        number=5,
        title="stale REST snapshot",
        injected=("exchange: stale-books",),
        expected="an answer older than an earlier one is dropped; three in a row are a gap. Books that never"
        " had the stream's best prices are not quoted on, and a gap within 15 s; filtered, every answer is"
        " compared with the stream's book",
        shown=(
            f"{SESSION}::test_an_answer_from_the_past_is_dropped_and_three_of_them_are_a_gap",
            f"{SESSION}::test_books_that_never_were_what_the_stream_shows_are_not_told_and_soon_a_gap",
            f"{SESSION}::test_books_that_stop_following_the_stream_are_a_gap_and_one_that_was_overtaken_is_none",
            f"{MORE}::test_f05_a_cache_that_is_old_from_its_first_answer_on_is_not_quoted_on",
        ),
    ),
    Entry(
        number=6,
        title="a change of the book is lost",
        injected=("exchange: ws-lost", "weather: delta_lost"),
        expected="books are compared with REST every 5 s; a difference is a gap",
        shown=(
            f"{SESSION}::test_a_filtered_book_that_rest_contradicts_is_a_gap",
            f"{HALTS}::test_a_missing_sequence_number_is_a_gap",
            CAMPAIGN,
        ),
    ),
    Entry(
        number=7,
        title="a message comes twice",
        injected=("exchange: ws-duplicate", "weather: repeated"),
        expected="nothing changes",
        shown=(
            f"{WEATHER}::test_numbered_changes_told_twice_or_overtaken_by_a_snapshot_are_old_news",
            CAMPAIGN,
        ),
    ),
    Entry(
        number=8,
        title="messages out of order",
        injected=("exchange: ws-reordered", "weather: read_late, news_late"),
        expected="what is older than what is known is dropped, many of those are a gap",
        shown=(
            f"{SESSION}::test_an_answer_from_the_past_is_dropped_and_three_of_them_are_a_gap",
            f"{WEATHER}::test_an_old_reading_says_nothing_about_now",
            CAMPAIGN,
        ),
    ),
    Entry(
        number=9,
        title="crossed or locked book",
        injected=("test: a book", "exchange: ws-merged, swapped-sides"),
        expected="not quoted on, at once, with its own reason",
        shown=(
            f"{HALTS}::test_an_unfit_book_takes_the_quotes_back_and_names_its_fault",
            f"{LESSONS}::test_02_yes_and_no_are_two_books_and_a_merged_one_is_not_quoted",
        ),
    ),
    Entry(
        number=10,
        title="empty side, empty book",
        injected=("test: a book",),
        expected="no quote (the doctrine: a missing side means none), with its own reason",
        shown=(
            f"{HALTS}::test_an_unfit_book_takes_the_quotes_back_and_names_its_fault",
            f"{LESSONS}::test_15_no_data_no_quote",
        ),
    ),
    Entry(
        number=11,
        title="NaN, Infinity, 1e400, numbers as odd texts",
        injected=("exchange: ws-garbage", "test: hostile bytes"),
        expected="the message is dropped and counted; three in 10 s are a gap",
        shown=(
            f"{HOSTILE}::test_hostile_bytes_raise_nothing_but_decode_error",
            f"{SESSION}::test_a_frame_that_cannot_be_read_is_dropped_and_three_are_a_gap",
            STREAM,
        ),
    ),
    Entry(
        number=12,
        title="negative, zero and huge amounts",
        injected=("exchange: ws-garbage, prices-1e4", "test: hostile bytes"),
        expected="as F11; what reaches the core all the same halts it",
        shown=(
            f"{PARSING}::test_what_is_no_price_is_refused_by_name",
            f"{PARSING}::test_what_is_no_size_is_refused_by_name",
            f"{HALTS}::test_an_impossible_level_loses_the_book_and_halts",
        ),
    ),
    Entry(
        number=13,
        title="fields missing, renamed or too many; unknown words",
        injected=("exchange: renamed-fields, upper-case-status, ws-garbage", "test: hostile bytes"),
        expected="missing: refused; too many: ignored; in data about our orders: no quotes (F45)",
        shown=(
            f"{HOSTILE}::test_hostile_bytes_raise_nothing_but_decode_error",
            f"{PARSING}::test_an_order_with_a_wrong_field_is_refused_by_name",
            f"{MORE}::test_f45_orders_in_words_that_nobody_knows_stop_the_quoting",
        ),
    ),
    Entry(
        number=14,
        title="torn, joined, oversized frames, invalid UTF-8",
        injected=("exchange: ws-garbage", "test: frames", "proxy: cut_after_bytes"),
        expected="bounded parsing, the connection is made anew, nothing ends",
        shown=(
            STREAM,
            f"{SESSION}::test_a_frame_that_is_too_long_is_not_even_parsed",
            f"{SESSION}::test_several_messages_of_one_frame_are_all_heard",
            f"{HOSTILE}::test_hostile_bytes_raise_nothing_but_decode_error",
        ),
    ),
    Entry(
        number=15,
        title="a message of an old or foreign market",
        injected=("test: messages",),
        expected="changes nothing",
        shown=(
            f"{SESSION}::test_messages_of_other_markets_and_outcomes_are_left_alone",
            f"{LESSONS}::test_14_a_retired_markets_book_changes_nothing_and_the_new_one_needs_its_own_snapshot",
        ),
    ),
    Entry(
        number=16,
        title="ten times the usual messages",
        injected=("exchange: ws-burst",),
        expected="merged stream: a burst becomes one reading each 100 ms; filtered: the latest book counts;"
        " the queue is bounded and the quotes stay",
        shown=(
            f"{MORE}::test_f16_a_burst_becomes_no_more_readings_than_there_is_use_for",
            f"{MORE}::test_f16_a_burst_of_whole_books_is_taken_as_it_comes",
            f"{SESSION}::test_a_burst_of_frames_becomes_one_reading_and_one_more_at_its_end",
            f"{CLIENT}::test_a_core_that_lags_behind_is_told_so_and_gets_the_latest_book_alone",
        ),
    ),
    Entry(
        number=17,
        title="oracle frozen, jumping, in disagreement",
        expected="no oracle feeds the default strategy: nothing to do",
        still_open="no strategy uses an oracle, so nothing is injected; a strategy that does has to bring"
        " this test",
    ),
    Entry(
        number=18,
        title="strike or end changed after the listing, strike 0",
        injected=("exchange: strike-moved, strike-zero, end-later, strike-1e8",),
        expected="quoting: the market is closed with an alert within a poll (10 s); not yet: it is never"
        " traded. The next market is",
        shown=(
            f"{MORE}::test_f18_a_market_that_changes_is_left_and_the_next_one_is_traded",
            f"{MORE}::test_a_market_that_cannot_be_right_is_never_traded_and_the_one_after_it_is",
            f"{ROLLOVER}::test_a_market_that_changes_under_our_feet_is_closed_and_reported",
        ),
    ),
    Entry(
        number=19,
        title="the wall clock jumps an hour",
        injected=("campaign: clock-wrong", "exchange: clock-skew", "test: a clock"),
        expected="timers are monotonic; our clock is read once and counted on; 2 s from the exchange's,"
        " nothing is signed",
        shown=(
            f"{MORE}::test_without_credentials_nothing_is_placed_and_the_orders_expire",
            "tests/e2e/test_doctor.py::test_a_clock_that_is_off",
            f"{WIRE}::test_f19_nothing_is_signed_while_the_clocks_differ",
            f"{VITALS}::test_a_clock_that_is_off_is_told_after_several_proofs_and_forgiven_after_one",
        ),
    ),
    Entry(
        number=20,
        title="slow drift, a step of NTP during an order",
        injected=("test: the clocks of a campaign's worlds, up to 50 ppm off; one that steps",),
        expected="tokens stay valid, no negative ages: a steady clock counts on from the start",
        shown=(
            f"{CLOCK}::test_f20_a_step_of_the_machines_clock_moves_no_instant",
            f"{CLIENT}::test_f20_when_the_machines_clock_steps_tokens_stay_valid_and_no_age_is_negative",
            f"{TRIALS}::test_nothing_that_must_not_happen_happens",
        ),
    ),
    Entry(
        number=21,
        title="suspend and resume",
        injected=("campaign: standstill", "process: SIGSTOP for a while, SIGCONT", "weather: timer_late"),
        expected="the silence is found by the first timer: halt, cancel, full resync; the guardian has"
        " cancelled before",
        shown=(
            f"{RUN}::test_a_run_that_is_stopped_by_the_system_is_cancelled_for_and_resyncs",
            f"{LESSONS}::test_19_deadlines_are_met_by_any_timer_that_comes_late",
            f"{VITALS}::test_a_machine_that_slept_is_noticed_although_the_loops_clock_did_not_move",
        ),
        still_open="a machine that sleeps stops the guardian, too: until it wakes only the orders' life"
        " helps",
    ),
    Entry(
        number=22,
        title="time zones, year's end, expiry at the second",
        injected=("test: instants",),
        expected="UTC and whole seconds of the exchange everywhere",
        shown=(
            f"{LESSONS}::test_24_no_order_outlives_the_market_it_is_for",
            "tests/scenario/test_exchange.py::test_an_order_expires_at_its_second_and_fills_no_more",
            f"{TRIALS}::test_the_same_seed_is_the_same_run_in_another_process_and_time_zone",
        ),
    ),
    Entry(
        number=23,
        title="429 on orders",
        injected=("exchange: http-429@place, http-429-retry-after@place",),
        expected="no new orders, cancels keep their reserve, no storm",
        shown=(
            REQUESTS,
            f"{WIRE}::test_f23_a_refused_order_is_not_sent_again_in_a_storm",
            f"{HALTS}::test_a_refusal_makes_its_side_wait_a_second",
        ),
    ),
    Entry(
        number=24,
        title="429 on cancels",
        injected=("exchange: http-429@cancel",),
        expected="asked again until confirmed or expired",
        shown=(
            REQUESTS,
            f"{WIRE}::test_f24_a_refused_cancel_is_asked_for_again_until_it_is_confirmed",
            f"{MORE}::test_f67_a_kill_switch_keeps_trying_until_there_is_proof_or_the_orders_have_expired",
        ),
    ),
    Entry(
        number=25,
        title="5xx on an order",
        injected=("exchange: http-500@place, http-502@place, http-503@place", "weather: order_lost"),
        expected="unknown, asked for by hash, counted until proven dead; three of them halt",
        shown=(
            REQUESTS,
            f"{HALTS}::test_an_order_without_an_answer_is_unknown_counts_and_three_of_them_halt",
            f"{CLIENT}::test_an_order_that_got_lost_is_sent_once_more_as_it_is_and_then_unknown",
        ),
    ),
    Entry(
        number=26,
        title="answer lost after the acceptance",
        injected=("exchange: lost-answer@place, http-502-after@place", "weather: order_answer_lost"),
        expected="unknown, found by hash, never sent twice",
        shown=(
            REQUESTS,
            f"{CLIENT}::test_an_order_whose_answer_was_lost_is_found_in_the_list_at_once",
            CAMPAIGN,
        ),
    ),
    Entry(
        number=27,
        title="the same signed order twice",
        injected=("test: requests",),
        expected="at most one live order at the exchange; only a request that surely never left is sent"
        " again",
        shown=(
            "tests/scenario/test_exchange.py::test_an_id_is_accepted_once_even_if_its_order_is_gone",
            f"{CLIENT}::test_an_order_whose_answer_was_lost_and_that_no_list_shows_is_found_by_its_hash",
        ),
    ),
    Entry(
        number=28,
        title="an order arrives half a minute late",
        injected=("exchange: slow-request@place", "weather: order_delayed"),
        expected="its expiry bounds it; it is found in the list and cancelled",
        shown=(
            REQUESTS,
            CAMPAIGN,
            f"{GUARDIAN}::test_an_order_that_arrives_late_while_the_silence_lasts_is_found_later",
            f"{WIRE}::test_f28_orders_that_arrive_late_are_found_and_those_that_never_do_give_their_capital_back",
        ),
    ),
    Entry(
        number=29,
        title="a cancel is lost, or confirmed and not done",
        injected=(
            "exchange: lost-request@cancel, lost-answer@cancel, cancel-ignored",
            "weather: cancel_lost, cancel_delayed, cancel_denied",
        ),
        expected="not over until lists show its absence; asked again",
        shown=(
            REQUESTS,
            f"{CANCELS}::test_a_confirmed_cancel_proves_nothing_and_what_stays_is_named_with_its_expiry",
            CAMPAIGN,
        ),
    ),
    Entry(
        number=30,
        title="404 on a cancel, because it is filled",
        injected=("test: answers",),
        expected="proves nothing; the fill is booked",
        shown=(
            f"{HALTS}::test_not_found_on_cancel_proves_nothing",
            f"{CLIENT}::test_not_found_on_a_cancel_proves_nothing",
        ),
    ),
    Entry(
        number=31,
        title="a fill before the acknowledgement",
        injected=("test: events",),
        expected="the fill counts as the acknowledgement",
        shown=(f"{ORDERS}::test_any_conversation_keeps_counts_monotone_and_living_orders_counted",),
    ),
    Entry(
        number=32,
        title="the same fill twice",
        injected=("weather: repeated", "test: events"),
        expected="booked once",
        shown=("tests/property/test_ledger.py::test_the_same_fill_told_again_is_booked_once", CAMPAIGN),
    ),
    Entry(
        number=33,
        title="one fill under two names",
        injected=("test: lists",),
        expected="recognised by transaction, place and terms; one fill with one fate",
        shown=(
            "tests/property/test_wire_fills.py::test_every_execution_becomes_one_fill_with_one_fate",
            f"{FILLS}::test_twins_of_one_transaction_are_two_fills_with_names_of_their_own",
        ),
    ),
    Entry(
        number=34,
        title="fill against cancel, fill after the cancel",
        injected=("weather: fill_late",),
        expected="legal; a cancelled order keeps its place in the worst case for a while",
        shown=(
            f"{WEATHER}::test_a_cancelled_order_keeps_its_place_while_the_stream_cannot_tell_of_its_fills",
            CAMPAIGN,
        ),
    ),
    Entry(
        number=35,
        title="filled too far, at a worse price, on the wrong side",
        injected=("exchange: over-fills, worse-fills, wrong-side-fills",),
        expected="latched: contract_broken for too much, foreign_order for a trade that no order of ours"
        " can have made (10 s after it)",
        shown=(
            f"{MORE}::test_a_broken_promise_latches_until_a_person_has_looked",
            f"{HALTS}::test_a_fill_beyond_the_size_of_its_order_latches_and_is_booked",
            f"{HALTS}::test_a_fill_at_a_worse_price_than_the_orders_latches",
            f"{FILLS}::test_a_trade_that_no_order_of_ours_can_have_made_is_told_once",
        ),
        still_open="a fill of the wrong outcome at our own"
        " price is not told from a right one before its settlement",
    ),
    Entry(
        number=36,
        title="what is filled goes back",
        injected=("exchange: fills-forgotten",),
        expected="ignored and counted, no fill is taken back (ARCHITECTURE: never guessed about)",
        shown=(
            f"{MORE}::test_f36_a_count_that_goes_back_takes_no_fill_back",
            f"{FILLS}::test_a_count_that_goes_back_is_counted_and_ignored",
        ),
        still_open="a count that stays back does not latch; new fills of that order are learned at its end",
    ),
    Entry(
        number=37,
        title="matched, then not settled (ghost fill)",
        injected=("exchange: settlement-failure", "weather: settlement_failing"),
        expected="pending, then reversed; limits hold throughout; when more than"
        " risk.settlement_failures_max of twice as many latest fills are reversed, latched",
        shown=(
            f"{CLIENT}::test_a_fill_that_fails_on_chain_is_reversed",
            f"{HALTS}::test_when_most_of_the_latest_fills_are_undone_a_person_has_to_look",
            f"{HALTS}::test_settlements_of_which_no_more_than_half_fail_halt_nothing",
            "tests/property/test_simulated_limits.py::test_no_market_ever_loses_more_than_its_limit",
            CAMPAIGN,
        ),
    ),
    Entry(
        number=38,
        title="pending for ever",
        injected=("exchange: settlement-stuck", "weather: settlement_late"),
        expected="reserved until it settles, over the market's end too; a full limit takes no more",
        shown=(
            f"{MORE}::test_f38_what_does_not_settle_stays_reserved_and_settles_in_the_end",
            f"{MORE}::test_f38_a_full_limit_takes_no_more_risk_while_nothing_settles",
        ),
    ),
    Entry(
        number=39,
        title="credentials refused in mid-session",
        injected=("exchange: token-expired, key-revoked",),
        expected="gap and one alert that names it; orders expire, since cancels need the key; quotes again"
        " when it works, however long that takes: it does not latch",
        shown=(REQUESTS, f"{MORE}::test_without_credentials_nothing_is_placed_and_the_orders_expire"),
    ),
    Entry(
        number=40,
        title="refused for the clock",
        injected=("exchange: clock-skew",),
        expected="the clocks differ: told in words, nothing is signed, cancels that the token allows still"
        " go",
        shown=(f"{MORE}::test_without_credentials_nothing_is_placed_and_the_orders_expire",),
    ),
    Entry(
        number=41,
        title="too little money or allowance",
        injected=(
            "exchange: hidden-cash, lagging-accounts, allowance-gone, funds-refused",
            "test: a poor wallet",
        ),
        expected="what cannot be paid is denied, without a loop; what the exchange refuses is asked for ever"
        " less often, and told; a balance that differs halts until it agrees; without an allowance every"
        " fill is reversed, costs nothing, and the fifth latches",
        shown=(
            f"{MORE}::test_f41_orders_refused_for_want_of_money_are_no_loop_and_a_person_is_told",
            f"{MORE}::test_f41_what_cannot_be_paid_is_not_asked_for_and_not_asked_for_in_a_loop",
            f"{MORE}::test_f41_a_balance_that_is_not_ours_any_more_halts_until_it_is_back",
            f"{MORE}::test_f41_without_an_allowance_fills_are_undone_cost_nothing_and_latch",
            f"{MORE}::test_f41_accounts_that_lag_halt_nothing_for_long",
            "tests/e2e/test_doctor.py::test_an_allowance_below_the_limit_and_no_money_at_all_are_failures",
        ),
        still_open="sizes are not shrunk to what can be paid; while fills settle between any two readings"
        " (25 s apart) a wrong balance stays a doubt",
    ),
    Entry(
        number=42,
        title="a nonce or hash used twice",
        injected=("test: orders",),
        expected="ids are functions of their inputs and differ; the exchange refuses the second, a 409 is"
        " unknown",
        shown=(
            "tests/unit/simulation/server/test_rest.py::test_the_same_order_is_taken_once_and_so_is_a_nonce",
            "tests/unit/exchange/turbine/test_outcome.py::test_a_placed_order_ends_in_one_event",
        ),
    ),
    Entry(
        number=43,
        title="another chain or settlement contract",
        injected=("exchange: other-settlement, other-chain",),
        expected="the market is refused with an alert and nothing is signed; the next one is traded. The"
        " signer refuses by itself",
        shown=(
            f"{MORE}::test_a_market_that_cannot_be_right_is_never_traded_and_the_one_after_it_is",
            f"{SIGNING}::test_an_order_for_a_contract_that_is_not_pinned_is_refused",
            f"{ROLLOVER}::test_a_market_elsewhere_is_refused_and_told_once",
        ),
        still_open="a gap and an alert for each such market, no latch (K3)",
    ),
    Entry(
        number=44,
        title="accepted with other terms",
        injected=("exchange: altered-orders",),
        expected="found in the list of open orders; cancelled; latched as contract_broken",
        shown=(
            f"{MORE}::test_a_broken_promise_latches_until_a_person_has_looked",
            f"{WEATHER}::test_an_order_listed_with_other_terms_than_ours_latches",
        ),
    ),
    Entry(
        number=45,
        title="own orders in an unknown shape",
        injected=("exchange: renamed-fields",),
        expected="unreadable three times in a row: halt and cancel, however well other things can be read; an"
        " alert that names the probe; one more order in five minutes shows whether it is over",
        shown=(
            f"{MORE}::test_f45_orders_in_words_that_nobody_knows_stop_the_quoting",
            f"{VITALS}::test_orders_in_words_that_cannot_be_read_three_times_are_told_once_and_tried_again_after_a_while",
            f"{WEATHER}::test_open_orders_that_cannot_be_read_three_times_halt_though_everything_else_can",
        ),
    ),
    Entry(
        number=46,
        title="HTML with 200, redirects, gzip bombs",
        injected=("exchange: html-answer, redirect, gzip-bomb",),
        expected="unknown, nothing is followed, bodies are bounded however they are packed",
        shown=(
            REQUESTS,
            f"{MORE}::test_an_answer_that_is_none_leaves_orders_unknown_and_is_followed_nowhere",
            f"{TRANSPORT}::test_a_redirect_is_not_followed",
            f"{TRANSPORT}::test_an_answer_that_is_too_long_is_lost",
        ),
    ),
    Entry(
        number=47,
        title="DNS, TLS, nobody listens",
        injected=(
            "campaign: net-down",
            "proxy: refuse, reset",
            "test: a name that does not resolve, a certificate of nobody's",
        ),
        expected="surely not sent, halted, and found again",
        shown=(
            f"{WIRE}::test_f47_an_exchange_that_cannot_be_reached_gets_no_orders_and_is_found_again",
            f"{MORE}::test_f47_a_line_that_refuses_keeps_nothing_and_places_nothing",
            f"{TRANSPORT}::test_a_name_that_does_not_resolve_is_no_answer",
            f"{TRANSPORT}::test_f47_nothing_is_said_to_somebody_nobody_vouches_for",
            f"{WIRE}::test_f47_orders_that_cannot_be_cancelled_end_with_their_time_to_live",
        ),
        still_open="no test with a name that changes its address",
    ),
    Entry(
        number=48,
        title="slow, lossy, narrow lines",
        injected=(
            "campaign: net-loss, net-slow",
            "proxy: delay_s, jitter_s, stall_rate, bytes_per_s, close_delay_s",
            "exchange: slow-answer",
        ),
        expected="nothing is doubled; round trips of more than 1 s: a gap, and no order leaves until they"
        " are short again",
        shown=(
            REQUESTS,
            f"{MORE}::test_f48_on_a_bad_line_nothing_is_doubled_and_all_is_well_after_it",
            f"{WIRE}::test_f48_nothing_is_sent_over_a_slow_connection",
        ),
    ),
    Entry(
        number=49,
        title="maintenance: orders taken, nothing matched, some 503",
        injected=("exchange: matching-off, http-503",),
        expected="readings that fail are a gap: cancel, at the latest expire; quotes again after it",
        shown=(
            f"{MORE}::test_f49_in_a_maintenance_window_the_quotes_end_and_come_back_after_it",
            f"{MORE}::test_f49_orders_that_are_taken_and_not_matched_are_cancelled_like_any_others",
        ),
        still_open="matching that is off while every request is answered well is not noticed: that our"
        " orders are listed and in no book is not compared",
    ),
    Entry(
        number=50,
        title="the market changes during an outage",
        injected=("weather: flapping, hanging, news_late",),
        expected="old orders expire; the new market is quoted from its own snapshot",
        shown=(CAMPAIGN, f"{WEATHER}::test_a_market_whose_close_nobody_tells_is_not_read_for_ever"),
    ),
    Entry(
        number=51,
        title="next market missing, late, doubled, of another length",
        injected=(
            "exchange: market-missing, market-late, market-twin, end-later, rollover-null, rollover-204",
        ),
        expected="flat; of two at once neither is traded; the next right one is",
        shown=(
            f"{MORE}::test_f51_without_a_market_the_agent_stays_flat_and_finds_the_next_one",
            f"{MORE}::test_f51_of_two_markets_at_once_neither_is_traded",
            f"{MORE}::test_a_market_that_cannot_be_right_is_never_traded_and_the_one_after_it_is",
        ),
    ),
    Entry(
        number=52,
        title="resolved early, voided, resolved the other way",
        injected=("exchange: resolved-twice",),
        expected="told with an alert, valued anew by an event",
        shown=(
            f"{MORE}::test_f52_a_market_resolved_the_other_way_is_told_and_valued_anew",
            f"{WEATHER}::test_a_market_resolved_the_other_way_is_valued_anew_and_never_twice",
            f"{ROLLOVER}::test_an_answer_that_is_changed_is_told_again_for_half_an_hour",
            f"{TRIALS}::test_f52_after_markets_that_were_resolved_twice_it_quotes",
        ),
        still_open="how a voided market looks is not documented, so it is not injected; winnings of a"
        " market that was put away as lost are told, and claimed by a person",
    ),
    Entry(
        number=53,
        title="claims refused, failed, sent twice",
        injected=(
            "exchange: claim-refused, claim-failure, lost-answer@relay",
            "weather: claim_lost, claim_answer_lost",
        ),
        expected="asked again no oftener than every 15 s, paid once",
        shown=(
            f"{MORE}::test_f53_winnings_are_claimed_once_in_the_end_whatever_becomes_of_the_first_claims",
            f"{WEATHER}::test_a_claim_whose_answer_was_lost_is_booked_from_readings",
            CAMPAIGN,
        ),
    ),
    Entry(
        number=54,
        title="quoting in the last seconds by a timer's bug",
        injected=("test: a signer's limits",),
        expected="the core pulls at pull_s; the signer signs nothing in a market's last seconds, nor beyond"
        " its end",
        shown=(
            f"{LIFE}::test_the_last_half_minute_shows_nothing_not_even_what_would_reduce",
            f"{LIMITS}::test_nothing_outlives_its_market_and_nothing_is_signed_in_its_last_seconds",
        ),
    ),
    Entry(
        number=55,
        title="kill -9 at every step",
        injected=(
            "campaign: kill",
            "process: SIGKILL at labelled places; hundreds by hand (tests/e2e/kill.py)",
        ),
        expected="no order without a durable intent, no lost fill, books equal to the unit",
        shown=(f"{RUN}::test_a_killed_run_is_taken_up_where_it_was",),
    ),
    Entry(
        number=56,
        title="loss of power",
        injected=(
            "campaign: power-loss",
            "test: a disk that forgets what was not synced (runtime/campaign/disk.py)",
        ),
        expected="exactly what was flushed is there, and orders leave after the flush",
        shown=(f"{POWER}::test_f56_after_a_loss_of_power_exactly_what_was_flushed_is_there",),
    ),
    Entry(
        number=57,
        title="disk full, read-only, failing",
        injected=(
            "campaign: disk-full, disk-error",
            "test: a failing disk",
        ),
        expected="no journal, no orders; pulled, with a clear message",
        shown=(
            f"{JOURNAL}::test_f57_a_failing_disk_ends_the_journal_and_what_was_flushed_is_safe",
            f"{JOURNAL}::test_f57_a_folder_that_may_not_be_written_to_is_refused_for_writing_and_fine_for_reading",
            f"{RUN}::test_a_journal_that_cannot_be_written_ends_the_run_with_nothing_left",
        ),
        still_open="inodes are not exhausted in any test",
    ),
    Entry(
        number=58,
        title="journal torn, changed, gone, another wallet's",
        injected=("test: changed bytes",),
        expected="a torn end is dropped and told; anything else is refused",
        shown=(
            f"{JOURNAL}::test_f58_a_change_is_found_and_named",
            f"{JOURNAL}::test_f58_another_wallets_journal_is_refused",
            f"{JOURNAL}::test_f58_a_journal_that_is_gone_while_its_log_is_not_is_refused",
            f"{RUN}::test_a_changed_byte_in_the_journal_refuses_to_start",
        ),
        still_open="there is no `repair --from-venue`",
    ),
    Entry(
        number=59,
        title="out of memory or descriptors, a stalled loop",
        injected=("process: SIGSTOP",),
        expected="the guardian, a process of its own, hears no heartbeat and cancels",
        shown=(
            f"{GUARDIAN}::test_sigstop_of_the_trader_and_the_guardian_cancels_and_tells_it_when_it_goes_on",
        ),
        still_open="memory and descriptors are not exhausted in any test",
    ),
    Entry(
        number=60,
        title="SIGSTOP for a minute, then SIGCONT",
        injected=(
            "campaign: standstill",
            "process: SIGSTOP, SIGCONT",
        ),
        expected="the guardian cancels at 5 s; the trader learns of it and resyncs",
        shown=(
            f"{GUARDIAN}::test_sigstop_of_the_trader_and_the_guardian_cancels_and_tells_it_when_it_goes_on",
            f"{RUN}::test_a_run_that_is_stopped_by_the_system_is_cancelled_for_and_resyncs",
            f"{STANDSTILL}::test_f60_a_process_that_was_stopped_says_so_before_anything_else",
        ),
    ),
    Entry(
        number=61,
        title="guardian or signer dead or slow",
        injected=("process: SIGKILL and SIGSTOP of either",),
        expected="the trader notices a dead or sleeping guardian; no signer, no orders",
        shown=(
            f"{GUARDIAN}::test_the_trader_notices_that_its_guardian_is_dead_or_asleep",
            f"{SIGNER}::test_when_the_signer_dies_orders_are_refused_at_once_and_a_new_one_is_found",
        ),
    ),
    Entry(
        number=62,
        title="two instances with one wallet",
        injected=(
            "campaign: foreign-order",
            "test: a second client with the same key",
        ),
        expected="on one machine the lease refuses the second; on two, orders and cancels of somebody else"
        " latch both",
        shown=(
            "tests/unit/runtime/test_lease.py::test_a_second_instance_is_refused_and_told_who_has_it",
            f"{MORE}::test_f62_an_order_of_somebody_else_with_our_key_is_taken_away_and_latches",
            f"{MORE}::test_f62_two_agents_with_the_same_wallet_stop_each_other",
            f"{WEATHER}::test_orders_that_somebody_else_keeps_cancelling_latch",
        ),
    ),
    Entry(
        number=63,
        title="settings that make no sense",
        injected=("test: files, variables and flags",),
        expected="refused, with the key and what to do",
        shown=(
            f"{SETTINGS}::test_a_refusal_says_where_what_and_what_instead",
            f"{SETTINGS}::test_whatever_stands_in_the_file_it_is_used_or_refused_by_a_config_error",
            f"{SETTINGS}::test_values_that_contradict_each_other_are_refused",
        ),
    ),
    Entry(
        number=64,
        title="hot reload that loosens, half-deployed fleet",
        expected="refused; version fence",
        still_open="there is no hot reload and no fleet: settings are read once, at the start",
    ),
    Entry(
        number=65,
        title="an exception nobody expected, in any task",
        injected=(
            "campaign: crash",
            "test: a task that raises",
        ),
        expected="it comes out of the loop and the run ends; the guardian cancels",
        shown=(
            f"{TRANSPORT}::test_what_nobody_expected_stops_the_agent",
            f"{GUARDIAN}::test_the_end_of_the_line_without_a_farewell_cancels_at_once_and_ends_with_0",
            f"{TRIALS}::test_f65_whatever_raises_ends_the_process_and_the_next_one_quotes",
        ),
    ),
    Entry(
        number=66,
        title="dashboard, metrics or alerts hang or flood",
        injected=("test: an address that hangs",),
        expected="never hold up the core; bounded queues drop and count",
        shown=(
            f"{ALERTS}::test_an_address_that_hangs_drops_the_oldest_and_holds_up_nobody",
            "tests/unit/runtime/test_control.py::test_a_caller_that_hangs_or_hangs_up_holds_up_nobody",
            f"{LOGS}::test_a_log_that_cannot_be_written_stops_nobody_and_says_so_once",
        ),
        still_open="there is no dashboard and no metrics endpoint yet",
    ),
    Entry(
        number=67,
        title="kill switch during another fault",
        injected=(
            "campaign: operator-halt",
            "exchange: http-429@cancel, cancel-ignored, http-500, ws-frozen, slow-answer",
        ),
        expected="keeps trying until proof or expiry; what is unproven is named with its expiry",
        shown=(
            f"{MORE}::test_f67_a_kill_switch_keeps_trying_until_there_is_proof_or_the_orders_have_expired",
            f"{CANCELS}::test_it_goes_on_through_every_fault_until_there_is_proof",
            f"{WIRE}::test_a_stop_that_cannot_be_proven_ends_all_the_same_and_says_so",
        ),
    ),
    Entry(
        number=68,
        title="hostile texts of the exchange",
        injected=("test: control characters, markup, formulas",),
        expected="one harmless line wherever people or programs read it",
        shown=(
            f"{PARSING}::test_a_text_of_the_exchanges_cannot_trip_a_terminal",
            "tests/unit/journal/test_export.py::test_f68_a_cell_is_no_formula_and_steers_no_terminal",
            f"{LOGS}::test_a_record_is_one_line_whatever_the_exchange_says",
            "tests/unit/cli/test_watch.py::test_a_reason_or_a_label_is_text_and_never_markup",
        ),
    ),
)


def group_of(entry: Entry) -> str:
    """The heading it stands under."""
    return [title for first, title in GROUPS if first <= entry.number][-1]


def page() -> str:
    """docs/faults.md."""
    is_open = [entry for entry in CATALOGUE if entry.still_open]
    undone = sum(not entry.shown for entry in CATALOGUE)
    lines = [
        "# The catalogue of faults",
        "",
        "What can go wrong between an agent, its machine and its exchange, and what has to come of it. Each",
        "is injected by a test, by the means named: *exchange* are faults of docs/exchange.md, *weather*",
        "those of `tests/fault/weather.py`, *proxy* those of `tests/e2e/proxy.py`, *campaign* the troubles",
        "of docs/campaign.md that are not faults of the exchange's; most of those are in the campaign, too.",
        "",
        "This page is made from `tests/fault/catalogue.py`, by `python -m tests.fault.catalogue`; a test",
        "compares the two and looks for every fault and every test that is named.",
        "",
        f"{len(CATALOGUE) - len(is_open)} of {len(CATALOGUE)} are shown in full. **Open** says what is",
        f"missing from the other {len(is_open)}; {undone} of them have no test at all.",
    ]
    heading = ""
    for entry in CATALOGUE:
        if group_of(entry) != heading:
            heading = group_of(entry)
            lines += ["", f"## {heading}"]
        lines += ["", f"### {entry.name} {entry.title}", ""]
        if entry.injected:
            lines.append(f"* Injected: {'; '.join(_marked(means) for means in entry.injected)}")
        lines.append(f"* Expected: {entry.expected}")
        lines += [f"* Shown by: `{test}`" for test in entry.shown]
        if entry.still_open:
            lines.append(f"* **Open**: {entry.still_open}")
    return "\n".join(lines) + "\n"


def missing(tests: Sequence[str]) -> list[str]:
    """Those that do not exist. Each is `file::function`."""
    return [test for test in tests if not _exists(*test.partition("::")[::2])]


def _exists(path: str, function: str) -> bool:
    source = (ROOT / path).read_text(encoding="utf-8") if (ROOT / path).exists() else ""
    return bool(re.search(rf"^def {function}\(", source, re.MULTILINE))


def names_of(means: str) -> tuple[str, list[str]]:
    """`exchange: a, b` as its kind and the names behind it."""
    kind, _, rest = means.partition(": ")
    return kind, rest.split(", ")


def _marked(means: str) -> str:
    kind, names = names_of(means)
    if kind in {"exchange", "weather", "proxy", "campaign"}:
        return f"{kind} " + ", ".join(f"`{name}`" for name in names)
    return means.replace(": ", " (", 1) + ")"


if __name__ == "__main__":
    sys.stdout.write(page())
