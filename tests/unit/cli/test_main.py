"""The command line in one process: exit codes, and one message for each error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from turbine_agent.cli.main import entry
from turbine_agent.runtime.campaign import campaign
from turbine_agent.runtime.settings import keys

BOOK = {
    "bids": [["0.49", "10"], ["0.48", 20]],
    "asks": [["0.51", "10"], [0.52, 20]],
    "own": [],
    "seconds_to_end": 600,
}


@pytest.fixture(autouse=True)
def _no_settings_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory without config.yaml, and no overrides."""
    monkeypatch.chdir(tmp_path)
    for key in keys().values():
        monkeypatch.delenv(key.variable, raising=False)


def leave(*arguments: str) -> int:
    """Run a command; the exit code it leaves with."""
    with pytest.raises(SystemExit) as caught:
        entry(list(arguments))
    code = caught.value.code
    assert code is None or isinstance(code, int)
    return code or 0


def explained(capsys: pytest.CaptureFixture[str], book: object, *arguments: str) -> dict[str, object]:
    Path("book.json").write_text(json.dumps(book), encoding="utf-8")
    assert leave("explain", "--book", "book.json", "--json", *(arguments or ("--inventory", "0"))) == 0
    out, err = capsys.readouterr()
    assert err == ""
    result = json.loads(out)
    assert isinstance(result, dict)
    return result


def refused(capsys: pytest.CaptureFixture[str], text: str) -> str:
    """What `explain` says of a file that it refuses."""
    Path("book.json").write_text(text, encoding="utf-8")
    assert leave("explain", "--book", "book.json", "--inventory", "0", "--json") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: book.json: ")
    return err


# -- explain -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inventory", "bid", "ask"),
    [("0", 490_000, 510_000), ("50", 440_000, 460_000), ("-50", 540_000, 560_000)],
)
def test_explain_shows_the_doctrines_worked_numbers(
    capsys: pytest.CaptureFixture[str], inventory: str, bid: int, ask: int
) -> None:
    result = explained(capsys, BOOK, "--inventory", inventory)
    doctrine = result["doctrine"]
    assert isinstance(doctrine, dict)
    assert (doctrine["bid_micros"], doctrine["ask_micros"]) == (bid, ask)
    assert result["fair_micros"] == 500_000


def test_explain_takes_settings_from_a_file_and_from_flags(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text("strategy:\n  base_spread: 0.04\n", encoding="utf-8")
    file = ("--inventory", "0", "--config", "mine.yaml")
    assert explained(capsys, BOOK, *file)["half_spread_micros"] == 20_000
    flag = ("--set", "strategy.base_spread=0.06")
    assert explained(capsys, BOOK, *file, *flag)["half_spread_micros"] == 30_000


def test_explain_leaves_our_own_orders_out(capsys: pytest.CaptureFixture[str]) -> None:
    book = BOOK | {"bids": [["0.50", "3"], ["0.49", "10"]], "own": [["buy", "0.50", "3"]]}
    assert explained(capsys, book)["fair_micros"] == 500_000


def test_explain_tells_people_step_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    Path("book.json").write_text(json.dumps(BOOK), encoding="utf-8")
    assert leave("explain", "--book", "book.json", "--inventory", "-12.5") == 0
    out = capsys.readouterr().out
    assert "inventory      -12.50 shares" in out
    assert "fair           0.500000" in out


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bids": []}, "book_one_sided"),
        ({"bids": [], "asks": []}, "book_empty"),
        ({"bids": [["0.60", "1"]]}, "book_crossed"),
        ({"bids": [["NaN", "1"]]}, "book_invalid: bids[0] price is NaN"),
        ({"asks": [["0.51", "1"], ["0.52", "Infinity"]]}, "book_invalid: asks[1] size is Infinity"),
        ({"asks": [["1.5", "1"]]}, "book_invalid: asks[0] price 1.5 is not between 0 and 1"),
        ({"bids": [[float("nan"), "1"]]}, "book_invalid: bids[0] price is NaN"),
    ],
)
def test_a_book_that_cannot_be_quoted_gives_a_reason_and_no_number(
    capsys: pytest.CaptureFixture[str], change: dict[str, object], reason: str
) -> None:
    result = explained(capsys, BOOK | change)
    assert result["reasons"] == [reason]
    assert result["doctrine"] is None
    assert result["fair_micros"] is None
    assert result["quote"] == dict.fromkeys(
        ("bid_micros", "ask_micros", "bid_size_micros", "ask_size_micros"), None
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"bids": []}', "the key asks is missing"),
        ('{"bids": [], "asks": [], "ask": []}', "the nearest valid one is asks"),
        ('{"bids": [], "bids": [], "asks": []}', "the key 'bids' stands twice"),
        ('{"bids": {}, "asks": []}', "bids is not a list"),
        ('{"bids": [["0.4"]], "asks": []}', "bids[0] is not a pair of price and size"),
        ('{"bids": [["0.4", "-1"]], "asks": []}', "bids[0] size -1 is not above 0"),
        ('{"bids": [["0.4", 0]], "asks": []}', "bids[0] size 0 is not above 0"),
        (
            '{"bids": [["0.4", "1.0000001"]], "asks": []}',
            "bids[0] size: '1.0000001' has more than six decimals",
        ),
        ('{"bids": [[0.40000001, 1]], "asks": []}', "bids[0] price: '0.40000001' has more than six decimals"),
        ('{"bids": [["x", 1]], "asks": []}', "bids[0] price: 'x' is not a decimal number"),
        ('{"bids": [[null, 1]], "asks": []}', "bids[0] price is not a number"),
        ('{"bids": [[0.4, 1e999999999]], "asks": []}', "bids[0] size: '1e999999999' is too large"),
        ('{"bids": [[0.4, 1' + "0" * 5000 + ']], "asks": []}', "bids[0] size is not a number"),
        ('{"bids": [], "asks": [], "own": [["up", 0.4, 1]]}', "own[0] does not begin with a side"),
        ('{"bids": [], "asks": [], "seconds_to_end": 1.5}', "seconds_to_end '1.5' is not a whole number"),
        ('{"bids": [], "asks": [], "seconds_to_end": -1}', "seconds_to_end '-1' is not a whole number"),
        ('{"bids": [], "asks": [], "seconds_to_end": true}', "seconds_to_end 'True' is not a whole number"),
    ],
)
def test_a_book_file_that_makes_no_sense_is_refused_by_the_name_of_the_key(
    capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    assert problem in refused(capsys, text)


def test_a_book_file_that_cannot_be_read_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("explain", "--book", "nothing.json", "--inventory", "0") == 2
    assert "nothing.json: cannot be read: No such file" in capsys.readouterr().err


@pytest.mark.parametrize("inventory", ["", "ten", "nan", "0.0000001", "1e999"])
def test_an_inventory_that_is_no_amount_is_refused(
    capsys: pytest.CaptureFixture[str], inventory: str
) -> None:
    Path("book.json").write_text(json.dumps(BOOK), encoding="utf-8")
    assert leave("explain", "--book", "book.json", "--inventory", inventory) == 2
    assert "--inventory" in capsys.readouterr().err


# -- config ------------------------------------------------------------------------------------------------


def test_config_show_tells_each_value_and_where_it_comes_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("config.yaml").write_text("strategy:\n  order_size: 5.50\n", encoding="utf-8")
    monkeypatch.setenv("TURBINE_RISK_PULL_S", "25")
    assert leave("config", "show", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert list(shown) == list(keys())
    assert shown["strategy.order_size"] == {"value": "5.5", "origin": "config.yaml:2"}
    assert shown["risk.pull_s"] == {"value": "25", "origin": "environment TURBINE_RISK_PULL_S"}
    assert shown["loop.check_invariants"] == {"value": True, "origin": "default"}
    assert leave("config", "show") == 0
    assert ["strategy.order_size", "5.5", "config.yaml:2"] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]


def test_config_schema_lists_all_that_is_known_of_every_key(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert leave("config", "schema", "--json") == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["strategy.base_spread"] == {
        "sentence": "Distance between our bid and our ask around fair value, before everything else.",
        "type": "number",
        "unit": "USDC per share",
        "low": "0.001",
        "high": "0.5",
        "expects": "USDC per share, 0.001 to 0.5",
        "default": "0.02",
        "variable": "TURBINE_STRATEGY_BASE_SPREAD",
    }
    assert leave("config", "schema") == 0
    text = capsys.readouterr().out
    for key in keys().values():
        assert key.dotted in text
        assert key.sentence in text


def test_config_check_says_ok_or_why_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("config", "check") == 0
    assert capsys.readouterr().out.startswith("ok: ")
    Path("config.yaml").write_text("strategy:\n  base_spred: 1\n", encoding="utf-8")
    assert leave("config", "check", "--json") == 10
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "error: config.yaml:2: strategy.base_spred: there is no such key\n"
        "  do: the nearest valid name is strategy.base_spread\n"
    )


def test_doubts_about_the_settings_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("config", "check", "--json", "--set", "strategy.skew_factor=0") == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["warnings"]) == 1
    assert err.startswith("warning: strategy.skew_factor (0)")


# -- everything else ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [("sim", "--seed", "x"), ("sim", "--markets", "0"), ("sim", "--nothing"), ("nothing",), ("backtest",)],
)
def test_a_command_line_that_makes_no_sense_leaves_with_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert leave(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err


def test_a_recording_that_could_not_be_written_is_refused_before_the_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert leave("sim", "--record", "nowhere/run.jsonl.gz") == 2
    assert "there is no directory nowhere" in capsys.readouterr().err
    assert leave("sim", "--record", ".") == 2
    assert "is a directory" in capsys.readouterr().err


def test_a_recording_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("backtest", "nothing.jsonl.gz") == 2
    assert "nothing.jsonl.gz" in capsys.readouterr().err


def test_a_bug_is_told_in_one_message_and_with_debug_in_full(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr("turbine_agent.runtime.config.load", break_down)
    assert leave("config", "check") == 1
    assert capsys.readouterr().err == (
        "error: this is a bug in turbine-agent: ZeroDivisionError: planted\n"
        "  do: run the same command with --debug and report what it shows\n"
    )
    with pytest.raises(ZeroDivisionError):
        entry(["config", "check", "--debug"])


def test_a_failing_system_is_no_bug_of_ours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("turbine_agent.runtime.config.load", fail)
    assert leave("config", "check") == 1
    assert capsys.readouterr().err.startswith(
        "error: the system refused: [Errno 28] No space left on device\n"
    )


def test_debug_shows_where_a_refusal_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--debug", "config", "check", "--config", "nothing.yaml") == 10
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith(
        "error: nothing.yaml: cannot be read: No such file or directory\n"
        "  do: name a settings file that is there\n"
    )


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--version") == 0
    assert capsys.readouterr().out.startswith("turbine-agent 0.")


# -- campaign ----------------------------------------------------------------------------------------------


def test_a_campaign_without_trouble_is_told_how_much_of_it_was_quoted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("campaign", "--faults", "none", "--hours", "0.1", "--minutes", "6")
    assert leave(*arguments) == 0
    capsys.readouterr()
    monkeypatch.setattr(campaign, "QUOTED_SHARE", 1.01)  # More than there is.
    assert leave(*arguments) == 1
    assert "of the quotable time was quoted without any trouble, less than" in capsys.readouterr().err
