"""What users of other market makers reported, and the test that answers each report.

A report is one failure that people met, in our own words, with the public threads it was read in. `shown`
names tests, `file::function`, in which the same happens to this agent. Those that no test told before are
conversations in `tests/scenario/test_failures_of_peers.py`.

docs/peers.md is made from this, by `python -m tests.fault.peers > docs/peers.md`; a test compares them.
"""

from __future__ import annotations

import sys
from typing import Final

import msgspec


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One failure that users of peers met."""

    met: str
    """What they saw, without a full stop."""
    threads: tuple[str, ...]
    """Where it was read: owner/name#number."""
    shown: tuple[str, ...]
    still_open: str = ""
    """What of it could happen to this agent, plainly."""


PEERS: Final = "tests/scenario/test_failures_of_peers.py"
HALTS: Final = "tests/scenario/test_halts.py"
RESTART: Final = "tests/scenario/test_restart.py"
WIRE: Final = "tests/e2e/test_agent_on_the_wire.py"
MORE: Final = "tests/e2e/test_more_faults_on_the_wire.py"
CLIENT: Final = "tests/e2e/test_turbine_client.py"
CLIENT_RESTART: Final = "tests/e2e/test_turbine_client_restart.py"
SESSION: Final = "tests/unit/exchange/turbine/test_session.py"
PNL: Final = "tests/unit/runtime/test_pnl.py"
TABLE: Final = "tests/property/test_order_table.py"
FILLS: Final = "tests/unit/exchange/turbine/test_fills.py"

GROUPS: Final = (
    (
        "Orders whose fate was not known",
        (
            Report(
                met="Posts timed out, were taken for failures and sent again; all copies were matched",
                threads=(
                    "Polymarket/py-clob-client#273",
                    "Polymarket/py-clob-client#261",
                    "hummingbot/hummingbot#493",
                    "hummingbot/hummingbot#2342",
                    "scrtlabs/catalyst#317",
                    "ccxt/ccxt#2599",
                ),
                shown=(
                    f"{PEERS}::test_an_order_that_timed_out_takes_its_room_in_the_limits_and_its_fill_counts_once",
                    f"{WIRE}::test_trouble_with_requests_doubles_nothing_and_passes",
                    f"{CLIENT}::test_an_order_whose_answer_was_lost_and_that_no_list_shows_is_found_by_its_hash",
                    f"{HALTS}::test_an_order_without_an_answer_is_unknown_counts_and_three_of_them_halt",
                ),
                still_open="where the limits leave room, a side whose order is of unknown fate is quoted"
                " again after a second, until exchange.ack_timeout; each counts in full, and the third halts",
            ),
            Report(
                met="A retry went on after the stream had said that the order was accepted",
                threads=("nautechsystems/nautilus_trader#4215",),
                shown=(f"{CLIENT}::test_an_order_whose_answer_was_lost_is_found_in_the_list_at_once",),
            ),
            Report(
                met="In a DNS outage resting orders counted as not found and were dropped; they were filled",
                threads=("hummingbot/hummingbot#8457", "hummingbot/hummingbot#8454"),
                shown=(f"{PEERS}::test_orders_filled_while_no_name_was_resolved_are_found_afterwards",),
            ),
            Report(
                met="Cancels failed in a bad network, orders were forgotten and others placed beside them",
                threads=("hummingbot/hummingbot#3374",),
                shown=(
                    f"{PEERS}::test_orders_that_could_not_be_cancelled_are_waited_for_and_none_is_stacked_upon_them",
                ),
            ),
            Report(
                met="Orders reached the book late, when what they had been decided on was gone",
                threads=("Polymarket/clob-client#244",),
                shown=(
                    f"{CLIENT}::test_a_decision_that_had_to_wait_is_not_sent",
                    f"{WIRE}::test_f28_orders_that_arrive_late_are_found_and_those_that_never_do_give_their_capital_back",
                ),
            ),
        ),
    ),
    (
        "Cancels and fills that met",
        (
            Report(
                met='A cancel was answered "never placed, cancelled or filled"; the bot bought again',
                threads=("enarjord/passivbot#514", "nkaz001/hftbacktest#239"),
                shown=(
                    f"{PEERS}::test_a_cancel_that_finds_nothing_is_no_leave_to_buy_again",
                    f"{TABLE}::test_nothing_returns_to_intent_or_sent_and_a_filled_order_stays_filled",
                ),
            ),
            Report(
                met="A fill after the cancel brought its order back to life, or changed a position unseen",
                threads=("nautechsystems/nautilus_trader#3797", "pst-group/pysystemtrade#1580"),
                shown=(f"{PEERS}::test_a_fill_told_after_the_cancel_is_booked_and_the_order_stays_ended",),
            ),
            Report(
                met="A refused cancel ended the watch over an order's expiry, and it rested on past its time",
                threads=("nautechsystems/nautilus_trader#4974",),
                shown=(
                    f"{PEERS}::test_a_cancel_that_is_refused_for_as_long_as_its_order_lives_is_asked_for_until_the_end",
                ),
            ),
            Report(
                met="An order that was partly filled was not cancelled any more",
                threads=("freqtrade/freqtrade#3802",),
                shown=(f"{PEERS}::test_an_order_that_is_partly_filled_is_pulled_like_any_other",),
            ),
        ),
    ),
    (
        "Fills and positions",
        (
            Report(
                met="Matched fills settled a minute late, or never; who bought again had twice the position",
                threads=("Polymarket/py-clob-client-v2#34", "Polymarket/py-clob-client#328"),
                shown=(
                    f"{PEERS}::test_a_fill_without_its_tokens_is_neither_bought_again_nor_sold_twice",
                    f"{CLIENT}::test_a_fill_that_fails_on_chain_is_reversed",
                ),
            ),
            Report(
                met="A third of all matches was undone, or nearly all of them for want of an approval",
                threads=("Polymarket/py-clob-client#338", "Polymarket/py-clob-client-v2#100"),
                shown=(
                    f"{MORE}::test_f41_without_an_allowance_fills_are_undone_cost_nothing_and_latch",
                    f"{HALTS}::test_when_most_of_the_latest_fills_are_undone_a_person_has_to_look",
                ),
            ),
            Report(
                met="Fewer tokens came than the order said were matched",
                threads=("Polymarket/py-clob-client#245",),
                shown=(f"{PNL}::test_a_settlement_that_corrects_a_fill_makes_it_so_from_the_beginning",),
            ),
            Report(
                met="An empty list of positions, or a zero in it, was taken for a flat account",
                threads=("nautechsystems/nautilus_trader#4705", "pmxt-dev/pmxt#99"),
                shown=(f"{PEERS}::test_a_position_of_zero_in_a_reading_does_not_make_us_flat",),
            ),
            Report(
                met="No fill was told of an order that had been filled; it stayed open in the books for ever",
                threads=(
                    "nautechsystems/nautilus_trader#3869",
                    "nautechsystems/nautilus_trader#4024",
                ),
                shown=(f"{PEERS}::test_fills_that_no_stream_tells_of_are_found_by_asking",),
            ),
            Report(
                met="A fill was told twice",
                threads=("ccxt/ccxt#18854",),
                shown=("tests/property/test_ledger.py::test_the_same_fill_told_again_is_booked_once",),
            ),
            Report(
                met="A trade that came later than the order's own update ended the process",
                threads=("nautechsystems/nautilus_trader#3770",),
                shown=(
                    f"{FILLS}::test_a_fill_is_told_when_order_and_execution_are_both_known_and_settles_once",
                    f"{FILLS}::test_an_execution_may_be_known_before_the_order_tells_of_it",
                ),
            ),
            Report(
                met="A match of YES with NO was booked on the wrong side",
                threads=("nautechsystems/nautilus_trader#3126",),
                shown=(f"{FILLS}::test_side_outcome_and_price_have_to_fit",),
            ),
        ),
    ),
    (
        "Market data",
        (
            Report(
                met="Connected, subscribed, pings answered, and no data, for minutes or hours",
                threads=(
                    "Polymarket/py-clob-client#292",
                    "Polymarket/real-time-data-client#26",
                    "Polymarket/real-time-data-client#35",
                ),
                shown=(
                    f"{WIRE}::test_trouble_with_the_stream_pulls_the_quotes_and_passes",
                    f"{SESSION}::test_a_change_that_the_stream_does_not_mention_is_a_gap",
                ),
            ),
            Report(
                met="Single subscriptions never brought a first message while others did",
                threads=("nautechsystems/nautilus_trader#4901",),
                shown=(f"{WIRE}::test_f04_a_subscription_that_never_brings_a_book_is_never_quoted_on",),
            ),
            Report(
                met="After a reconnect the new snapshot was merged into the old book: ghost prices",
                threads=("ccxt/ccxt#29210",),
                shown=(f"{PEERS}::test_levels_from_before_an_outage_are_not_in_the_book_after_it",),
            ),
            Report(
                met="The book stayed in the past, and every order made from it was refused, over and over",
                threads=("ctubio/Krypto-trading-bot#934",),
                shown=(
                    f"{SESSION}::test_books_that_stop_following_the_stream_are_a_gap_and_one_that_was_overtaken_is_none",
                    f"{HALTS}::test_refusals_in_a_row_make_their_side_wait_ever_longer_and_the_fourth_is_told",
                ),
            ),
            Report(
                met="An update was put on the wrong side of the book, and took one of two quotes with it",
                threads=("warproxxx/poly-maker#12",),
                shown=(f"{HALTS}::test_an_unfit_book_takes_the_quotes_back_and_names_its_fault",),
            ),
            Report(
                met="After a short outage no orders were placed until a price moved",
                threads=("ExchangeUnion/market-maker-bot#113",),
                shown=(f"{HALTS}::test_a_lost_feed_cancels_everything_and_comes_back_through_a_full_resync",),
            ),
        ),
    ),
    (
        "Stops, starts and other processes",
        (
            Report(
                met="The kill switch said that it had stopped the bot, and orders went on being created",
                threads=("hummingbot/hummingbot#2534", "pattertj/LoopTrader#75"),
                shown=(f"{PEERS}::test_after_a_person_has_halted_it_nothing_is_placed_whatever_happens",),
            ),
            Report(
                met="After a stop the network reconnected by itself, and orders were sent",
                threads=("hummingbot/hummingbot#720", "hummingbot/hummingbot#1508"),
                shown=(f"{PEERS}::test_a_stop_during_an_outage_is_not_undone_when_the_network_comes_back",),
            ),
            Report(
                met="The kill switch stopped bots that had traded nothing, or held nothing any more",
                threads=("hummingbot/hummingbot#1145", "hummingbot/hummingbot#1866"),
                shown=(f"{PEERS}::test_a_price_that_moves_is_no_loss_for_who_holds_nothing",),
            ),
            Report(
                met="Orders of a process that had crashed stayed on the book, at prices of the past",
                threads=("GLEECBTC/komodo-defi-framework#1142", "ctubio/Krypto-trading-bot#1042"),
                shown=(
                    f"{CLIENT_RESTART}::test_orders_left_behind_are_cancelled_and_what_was_filled_meanwhile_is_booked",
                    "tests/e2e/test_guardian.py::test_kill_9_of_the_trader_and_the_guardian_cancels",
                ),
            ),
            Report(
                met="A restart booked an opposite fill and began flat, or ordered everything twice",
                threads=(
                    "nautechsystems/nautilus_trader#4736",
                    "nautechsystems/nautilus_trader#3176",
                ),
                shown=(
                    f"{RESTART}::test_a_fill_booked_before_is_not_booked_again_and_settles_after",
                    f"{RESTART}::test_restarting_twice_leaves_the_same_as_once",
                ),
            ),
            Report(
                met="The start of a second bot cancelled the orders of the first",
                threads=("hummingbot/hummingbot#3214",),
                shown=(
                    "tests/unit/runtime/test_lease.py::test_a_second_instance_is_refused_and_told_who_has_it",
                    f"{MORE}::test_f62_two_agents_with_the_same_wallet_stop_each_other",
                ),
            ),
        ),
    ),
    (
        "Limits of the exchange",
        (
            Report(
                met="Requests in a storm, answered with 429 or a ban",
                threads=("ctubio/Krypto-trading-bot#814", "DeviaVir/zenbot#879"),
                shown=(
                    f"{WIRE}::test_f23_a_refused_order_is_not_sent_again_in_a_storm",
                    f"{WIRE}::test_f24_a_refused_cancel_is_asked_for_again_until_it_is_confirmed",
                ),
            ),
            Report(
                met='Every order refused for "not enough balance / allowance", tried again for ever',
                threads=("Polymarket/py-clob-client#290", "Polymarket/py-clob-client#287"),
                shown=(
                    f"{MORE}::test_f41_orders_refused_for_want_of_money_are_no_loop_and_a_person_is_told",
                ),
            ),
        ),
    ),
)
"""Headings, each with its reports."""

REPORTS: Final = tuple(report for _, reports in GROUPS for report in reports)


def page() -> str:
    """docs/peers.md."""
    ours = sum(report.shown[0].startswith(PEERS) for report in REPORTS)
    threads = {thread for report in REPORTS for thread in report.threads}
    lines = [
        "# What peers' users met",
        "",
        f"{len(REPORTS)} failures that users of other market makers reported, read in {len(threads)} public",
        f"threads, and the tests in which the same happens to this agent. {ours} are conversations in",
        f"`{PEERS}`; the others had a test already. What happened is told in our words.",
        "",
        "This page is made from `tests/fault/peers.py`, by `python -m tests.fault.peers`; a test compares",
        "the two and looks for every test that is named.",
    ]
    for heading, reports in GROUPS:
        lines += ["", f"## {heading}"]
        for report in reports:
            lines += ["", f"**{report.met}.**", ""]
            lines.append("* Read in: " + ", ".join(report.threads))
            lines += [f"* Shown by: `{test}`" for test in report.shown]
            if report.still_open:
                lines.append(f"* **Open**: {report.still_open}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
