"""Settings: read exactly, combined in order, refused with one message that helps."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from turbine_agent.model.units import UnitError
from turbine_agent.runtime.config import ConfigError, Loaded, Settings, load, to_params
from turbine_agent.runtime.settings import (
    EXCHANGE_MIN_ORDER_LIFE_S,
    Count,
    Key,
    Number,
    keys,
    plain,
    sections,
    value_of,
)

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def loaded(config: Path, text: str) -> Loaded:
    config.write_text(text, encoding="utf-8")
    return load(config, {})


def refusal(
    config: Path, text: str, environ: dict[str, str] | None = None, flags: tuple[str, ...] = ()
) -> ConfigError:
    """The error, with the file's folder taken out of its text."""
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(config, environ or {}, flags)
    return caught.value


def told(error: ConfigError, config: Path) -> str:
    return str(error).replace(str(config), "FILE")


# -- defaults ----------------------------------------------------------------------------------------------


def test_without_any_source_all_is_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load(None, {})
    assert found.settings == Settings()
    assert set(found.origins.values()) == {"default"}
    assert found.warnings == ()


def test_the_defaults_are_within_their_own_bounds_and_fit_the_core() -> None:
    for key in keys().values():
        assert key.rule.parse(plain(key.default)) == key.default, key.dotted
    to_params(Settings())


def test_the_defaults_are_alive() -> None:
    """Lesson 22: at full inventory the skew moves the quotes by at least half the spread."""
    strategy = to_params(Settings()).strategy
    assert 2 * strategy.skew_factor >= strategy.base_spread
    assert 2 * strategy.overlay_bias >= strategy.quote_tick


def test_the_committed_file_sets_every_key_to_its_default() -> None:
    found = load(ROOT / "config.yaml", {})
    assert found.settings == Settings()
    assert "default" not in found.origins.values()


def test_the_committed_file_says_every_keys_sentence() -> None:
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    for key in keys().values():
        assert f"  # {key.sentence}\n  {key.name}: " in text, key.dotted


def test_every_key_says_what_it_does_and_takes() -> None:
    for key in keys().values():
        assert key.sentence.endswith((".", ")", ".)")), key.dotted
        assert key.rule.expects


def test_the_core_gets_the_numbers_in_its_own_units() -> None:
    params = to_params(Settings())
    assert params.strategy.base_spread == 20_000
    assert params.strategy.order_size == 10_000_000
    assert params.strategy.imbalance_threshold_ppm == 2_000_000
    assert params.risk.max_market_loss == 60_000_000
    assert params.risk.duplicate_window_ns == 500_000_000
    assert params.risk.min_order_life_ns == EXCHANGE_MIN_ORDER_LIFE_S * 10**9
    assert params.execution.order_ttl_ns == 90 * 10**9
    assert params.loop.tick_interval_ns == 250_000_000
    assert params.loop.ack_timeout_ns == 3 * 10**9


def test_every_key_of_the_core_reaches_it() -> None:
    """Another value for a key changes the parameters; a key that changed nothing would be a dead promise."""
    elsewhere = {"exchange", "markets", "rollover", "logging", "alerts", "paper"}
    before = to_params(Settings())
    two = msgspec.structs.replace(Settings().markets, series="BTC/15=2 ETH/60")
    shared = to_params(msgspec.structs.replace(Settings(), markets=two)).risk.allotments
    assert [(a.asset, a.interval_s, a.max_market_loss) for a in shared] == [
        ("BTC", 900, 100_000_000),
        ("ETH", 3_600, 50_000_000),
    ]
    for key in keys().values():
        if key.section in elsewhere:
            continue
        section = getattr(Settings(), key.section)
        changed = msgspec.structs.replace(section, **{key.name: other_value(key)})
        after = to_params(msgspec.structs.replace(Settings(), **{key.section: changed}))
        assert after != before, key.dotted


def other_value(key: Key) -> object:
    if isinstance(key.default, bool):
        return not key.default
    assert isinstance(key.rule, Number | Count)
    if isinstance(key.rule, Count):
        return key.rule.high
    return Decimal(key.rule.high) if key.default != Decimal(key.rule.high) else Decimal(key.rule.low)


def test_an_amount_between_two_micros_is_an_error() -> None:
    finer = msgspec.structs.replace(Settings().strategy, base_spread=Decimal("0.0200001"))
    with pytest.raises(UnitError, match="more than six decimals"):
        to_params(msgspec.structs.replace(Settings(), strategy=finer))


# -- sources -----------------------------------------------------------------------------------------------


def test_numbers_are_read_as_they_are_written(config: Path) -> None:
    text = "strategy:\n  base_spread: 0.030001\n  order_size: 1e1\n  skew_factor: '.10'\n"
    strategy = loaded(config, text).settings.strategy
    assert strategy.base_spread == Decimal("0.030001")
    assert strategy.order_size == 10
    assert strategy.skew_factor == Decimal("0.1")


def test_each_source_overrides_those_before_it(config: Path) -> None:
    config.write_text(
        "strategy:\n  order_size: 11\n  base_spread: 0.03\n  skew_factor: 0.2\n", encoding="utf-8"
    )
    environ = {"TURBINE_STRATEGY_ORDER_SIZE": "12", "TURBINE_STRATEGY_BASE_SPREAD": "0.04"}
    found = load(config, environ, ["strategy.order_size=13"])
    assert found.settings.strategy.order_size == 13
    assert found.settings.strategy.base_spread == Decimal("0.04")
    assert found.settings.strategy.skew_factor == Decimal("0.2")
    assert found.origins["strategy.order_size"] == "--set"
    assert found.origins["strategy.base_spread"] == "environment TURBINE_STRATEGY_BASE_SPREAD"
    assert found.origins["strategy.skew_factor"] == f"{config}:4"
    assert found.origins["strategy.min_price"] == "default"


def test_the_working_directorys_file_is_taken_if_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("risk:\n  unknown_budget: 7\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    found = load(None, {})
    assert found.settings.risk.unknown_budget == 7
    assert found.origins["risk.unknown_budget"] == "config.yaml:2"


def test_the_missions_name_for_the_data_age_is_understood(config: Path) -> None:
    config.write_text("", encoding="utf-8")
    assert load(config, {"TURBINE_MAX_DATA_AGE_S": "12.5"}).settings.risk.max_data_age_s == Decimal("12.5")


def test_one_key_under_two_variables_is_refused(config: Path) -> None:
    error = refusal(config, "", {"TURBINE_MAX_DATA_AGE_S": "10", "TURBINE_RISK_MAX_DATA_AGE_S": "20"})
    assert error.key == "risk.max_data_age_s"
    assert "TURBINE_MAX_DATA_AGE_S" in str(error)
    assert "TURBINE_RISK_MAX_DATA_AGE_S" in str(error)


@pytest.mark.parametrize(
    "variable", ["TURBINE_PRIVATE_KEY", "TURBINE_API_KEY_ID", "TURBINE_ENV_FILE", "PATH"]
)
def test_variables_that_are_no_settings_are_left_alone(config: Path, variable: str) -> None:
    config.write_text("", encoding="utf-8")
    assert load(config, {variable: "anything"}).settings == Settings()


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "strategy:\n", "strategy: ~\nrisk: {}\n"])
def test_a_file_that_sets_nothing_is_fine(config: Path, text: str) -> None:
    assert loaded(config, text).settings == Settings()


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "strategy:\n  base_spread: 10%\n",
            (
                "FILE:2: strategy.base_spread: '10%' is a percentage where a fraction of 1 belongs\n"
                "  expected: USDC per share, 0.001 to 0.5\n"
                "  do: write 0.1"
            ),
        ),
        (
            "strategy:\n  base_spread: 10\n",
            (
                "FILE:2: strategy.base_spread: '10' is out of range\n"
                "  expected: USDC per share, 0.001 to 0.5\n"
                "  do: this is a fraction of 1, not per cent or cents: for 10 % write 0.1"
            ),
        ),
        (
            "risk:\n  max_market_loss_usdc: 5%\n",
            (
                "FILE:2: risk.max_market_loss_usdc: '5%' is a percentage where an amount belongs (USDC)\n"
                "  expected: USDC, 0.01 to 1000000"
            ),
        ),
        (
            "strategy:\n  base_spred: 0.02\n",
            (
                "FILE:2: strategy.base_spred: there is no such key\n"
                "  do: the nearest valid name is strategy.base_spread"
            ),
        ),
        (
            "strategy:\n  max_inventory_units: 10\n",
            (
                "FILE:2: strategy.max_inventory_units: there is no such key\n"
                "  do: the nearest valid name is risk.max_inventory_units"
            ),
        ),
        (
            "stratgey:\n  base_spread: 0.02\n",
            (
                "FILE:1: stratgey: there is no such section\n"
                "  do: the nearest section is strategy; there are exchange, strategy, markets, rollover, "
                "risk, loop, paper, logging, alerts"
            ),
        ),
        (
            "base_spread: 0.02\n",
            "FILE:1: base_spread: stands outside of its section\n  do: put it below strategy:",
        ),
        ("risk: 5\n", "FILE:1: risk: a section holds keys, not a value"),
        (
            "strategy:\n  order_size: 10\n  min_price: 0.01\n  order_size: 10\n",
            "FILE:4: strategy.order_size: stands twice; the first is in line 2\n  do: keep one of them",
        ),
        (
            "risk:\n  pull_s: 30\nloop:\nrisk:\n  pull_s: 30\n",
            "FILE:4: risk: stands twice; the first is in line 1\n  do: keep one of them",
        ),
        (
            "strategy:\n  min_price: 0.99\n  max_price: 0.01\n",
            (
                "FILE:2: strategy.min_price: 0.99 is not below strategy.max_price (0.01, FILE:3)\n"
                "  do: exchange the two if they are swapped"
            ),
        ),
        (
            "risk:\n  hard_drawdown_limit: 20\n",
            (
                "FILE:2: risk.soft_drawdown_limit: 40 is not below risk.hard_drawdown_limit (20, FILE:2)\n"
                "  do: exchange the two if they are swapped"
            ),
        ),
        (
            "strategy:\n  order_size:\n",
            "FILE:2: strategy.order_size: found nothing\n  expected: shares, 0.01 to 1000000",
        ),
        (
            "strategy:\n  order_size: ten\n",
            (
                "FILE:2: strategy.order_size: 'ten' is not a plain decimal number\n"
                "  expected: shares, 0.01 to 1000000"
            ),
        ),
        (
            "strategy:\n  order_size: 10.0000001\n",
            (
                "FILE:2: strategy.order_size: '10.0000001' has more than six decimals; amounts are kept "
                "exactly, in millionths\n  expected: shares, 0.01 to 1000000"
            ),
        ),
        (
            "risk:\n  unknown_budget: 2.5\n",
            (
                "FILE:2: risk.unknown_budget: '2.5' is not a whole number in plain digits\n"
                "  expected: a whole number of orders, 1 to 100"
            ),
        ),
        (
            "loop:\n  check_invariants: yes\n",
            "FILE:2: loop.check_invariants: 'yes' is neither true nor false\n  expected: true or false",
        ),
        (
            "logging:\n  level: LOUD\n",
            (
                "FILE:2: logging.level: 'LOUD' does not have the expected form\n"
                "  expected: DEBUG, INFO, WARNING, ERROR or CRITICAL"
            ),
        ),
        (
            "strategy:\n  order_size: [10]\n",
            (
                "FILE:2: 'order_size' takes one value, not a list or a group\n"
                "  expected: sections, and in each lines of the form `key: value`"
            ),
        ),
        ("strategy: {\n", "FILE:2: is not valid YAML: expected the node content, but found '<stream end>'"),
    ],
)
def test_a_refusal_says_where_what_and_what_instead(config: Path, text: str, message: str) -> None:
    assert told(refusal(config, text), config) == message


@pytest.mark.parametrize(
    "text",
    [
        "- a\n",
        "a\n",
        "? [a]\n: b\n",
        "risk: [1]\n",
        "risk: &x\n  pull_s: 3\nloop: *x\n",
        "risk: !!map {}\n",
        "risk:\n  pull_s: !!int 3\n",
        "{}\n---\n{}\n",
        "risk:\n  pull_s: {a: 1}\n",
        "risk:\n\tpull_s: 3\n",
        "a: 'b\n",
        "\x00",
        'a: "\\UFFFFFFFF"\n',
        f"%YAML 1.{'1' * 5000}\n---\n{{}}\n",
        "[" * 20_000,
    ],
)
def test_yaml_that_is_no_list_of_settings_is_refused(config: Path, text: str) -> None:
    assert told(refusal(config, text), config).startswith("FILE")


@pytest.mark.parametrize(
    "number", ["010", "1_000", "1:30", "0x10", "\u0661\u0660", "1e999", "nan", ".inf", "--1", "1.2.3", "1 0"]
)
def test_a_number_that_readers_of_yaml_disagree_about_is_refused(config: Path, number: str) -> None:
    assert refusal(config, f"strategy:\n  order_size: {number}\n").key == "strategy.order_size"


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("TURBINE_STRATEGY_BASE_SPRED", "0.02", "strategy.base_spred"),
        ("TURBINE_STRATEGY_BASE_SPREAD", "", "strategy.base_spread"),
        ("TURBINE_STRATEGY_BASE_SPREAD", "  ", "strategy.base_spread"),
        ("TURBINE_STRATEGY_BASE_SPREAD", "2%", "strategy.base_spread"),
        ("TURBINE_RISKS_PULL_S", "30", "risks"),
        ("TURBINE_LOOP_", "30", "loop."),
    ],
)
def test_a_bad_override_names_its_variable_and_key(config: Path, variable: str, value: str, key: str) -> None:
    error = refusal(config, "", {variable: value})
    assert error.key == key
    assert error.where == f"environment {variable}"


@pytest.mark.parametrize(
    "flag", ["", "strategy", "strategy.base_spread", "base_spread=1", "a.b=1", "risk.x=1"]
)
def test_a_bad_flag_is_refused(config: Path, flag: str) -> None:
    assert "--set" in refusal(config, "", flags=(flag,)).where


def test_what_a_later_source_overrides_is_checked_all_the_same(config: Path) -> None:
    error = refusal(config, "strategy:\n  order_size: ten\n", {"TURBINE_STRATEGY_ORDER_SIZE": "10"})
    assert error.where == f"{config}:2"


def test_a_named_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot be read: No such file"):
        load(tmp_path / "nothing.yaml", {})


def test_a_directory_or_a_file_that_is_no_text_or_too_large_is_refused(config: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(config.parent, {})
    config.write_bytes(b"risk:\n  pull_s: \xff\n")
    with pytest.raises(ConfigError, match=":2: is not UTF-8"):
        load(config, {})
    config.write_bytes(b"# " + b"x" * 1_000_000)
    with pytest.raises(ConfigError, match="is larger than"):
        load(config, {})


@pytest.mark.parametrize(
    "text",
    [
        "private_key: 'hush'\n",
        "exchange:\n  private_key: 'hush'\n",
        "exchange:\n  api_key_id: 'hush'\n",
        "exchange:\n  auth_token: 'hush'\n",
        "secrets:\n  wallet: 'hush'\n",
        "wallet_password: 'hush'\n",
    ],
)
def test_secrets_are_refused_and_not_repeated(config: Path, text: str) -> None:
    error = refusal(config, text)
    assert "looks like a secret" in str(error)
    assert "hush" not in str(error)


def test_a_private_key_in_the_wrong_place_is_not_repeated(config: Path) -> None:
    key = "0x" + "4f" * 32
    assert key not in str(refusal(config, f"strategy:\n  order_size: {key}\n"))
    assert key not in str(refusal(config, "", {"TURBINE_STRATEGY_ORDER_SIZE": key}))
    assert key not in str(refusal(config, "", flags=(key,)))
    assert key not in str(refusal(config, f"{key}: 1\n"))
    assert key not in str(refusal(config, f"risk:\n  {key}: 1\n"))
    assert key not in str(refusal(config, f"risk:\n  {key}: [1]\n"))


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        (["strategy.extreme_low=0.5", "strategy.extreme_high=0.5"], "strategy.extreme_low"),
        (["strategy.quote_tick=0.03"], "strategy.quote_tick"),
        (["strategy.quote_tick=0.02"], "strategy.min_price"),
        (["strategy.max_price=0.9855"], "strategy.max_price"),
        (["strategy.quote_tick=0.01", "strategy.base_spread=0.009"], "strategy.base_spread"),
        (["strategy.order_size=51"], "strategy.order_size"),
        (["risk.max_inventory_units=9"], "strategy.order_size"),
        (["risk.max_market_loss_usdc=151"], "risk.max_market_loss_usdc"),
        (["markets.series=BTC/15 ETH/60 BTC/15=2"], "markets.series"),
        (["risk.soft_drawdown_limit=75"], "risk.soft_drawdown_limit"),
        (["risk.pull_s=91"], "risk.pull_s"),
        (["exchange.taker_fee=0.011"], "exchange.taker_fee"),
        (["risk.order_ttl_s=79"], "risk.order_ttl_s"),
        (["loop.tick_interval_ms=5001"], "loop.tick_interval_ms"),
    ],
)
def test_values_that_contradict_each_other_are_refused(config: Path, flags: list[str], key: str) -> None:
    config.write_text("", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(config, {}, flags)
    assert caught.value.key == key
    assert caught.value.where == "--set"


def test_a_feature_that_cannot_act_is_told_of_but_allowed(config: Path) -> None:
    dead_skew = loaded(config, "strategy:\n  skew_factor: 0.005\n")
    assert [warning.split()[0] for warning in dead_skew.warnings] == ["strategy.skew_factor"]
    dead_overlay = loaded(config, "strategy:\n  overlay_bias: 0.0004\n")
    assert [warning.split()[0] for warning in dead_overlay.warnings] == ["strategy.overlay_bias"]
    assert loaded(config, "strategy:\n  overlay_bias: 0\n").warnings == ()


# -- laws --------------------------------------------------------------------------------------------------

names = st.sampled_from([*sections(), *(key.name for key in keys().values()), "x", "private_key", "<<"])
scalars = st.one_of(
    st.text(max_size=20),
    st.integers().map(str),
    st.decimals().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["true", "null", "10%", "1e9999999", "!!python/object:os.system x", "&a", "*a", '"\\UFFFFFFFF"']
    ),
)
lines = st.builds(
    lambda indent, name, colon, value: f"{' ' * indent}{name}{colon}{value}",
    st.integers(0, 4),
    names | st.text(max_size=8),
    st.sampled_from([": ", ":", " ", ": [", ": {", ": |\n"]),
    scalars,
)
documents = st.one_of(
    st.text(),
    st.binary(),
    st.lists(lines, max_size=8).map("\n".join),
    st.lists(st.tuples(st.sampled_from(list(keys().values())), scalars), max_size=6).map(
        lambda pairs: "\n".join(f"{key.section}:\n  {key.name}: {value}" for key, value in pairs)
    ),
)


@settings(max_examples=400)
@given(document=documents)
@example(document=f"%YAML 1.{'1' * 5000}\n---\n{{}}\n")
@example(document='risk: {pull_s: "\\UFFFFFFFF"}')
@example(document="[" * 20_000)
@example(document="\ufeffrisk:\n")
@example(document="\ud800".encode("utf-8", "surrogatepass"))
def test_whatever_stands_in_the_file_it_is_used_or_refused_by_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, document: str | bytes
) -> None:
    config = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    config.write_bytes(document if isinstance(document, bytes) else document.encode("utf-8", "surrogatepass"))
    try:
        found = load(config, {})
    except ConfigError as error:
        assert str(error).startswith(str(config))
    else:
        to_params(found.settings)


@given(
    key=st.sampled_from(list(keys().values())) | st.text(max_size=12),
    value=scalars.filter(lambda text: "\x00" not in text),
)
def test_whatever_stands_in_the_environment_it_is_used_or_refused_by_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, key: Key | str, value: str
) -> None:
    config = tmp_path_factory.getbasetemp() / "empty.yaml"
    config.write_text("", encoding="utf-8")
    variable = key.variable if isinstance(key, Key) else f"TURBINE_{key}"
    try:
        to_params(load(config, {variable: value}).settings)
    except ConfigError as error:
        assert "environment" in error.where


@given(st.data())
def test_what_a_key_accepts_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any value within the bounds, written as text in any source, is the one in force: nothing is rounded."""
    config = tmp_path_factory.getbasetemp() / "exact.yaml"
    key = data.draw(st.sampled_from([key for key in keys().values() if isinstance(key.rule, Number)]))
    assert isinstance(key.rule, Number)
    low, high = (int(Decimal(bound).scaleb(6)) for bound in (key.rule.low, key.rule.high))
    value = Decimal(data.draw(st.integers(low, high))).scaleb(-6)
    config.write_text(f"{key.section}:\n  {key.name}: {value}\n", encoding="utf-8")
    try:
        from_file = load(config, {})
        from_flag = load(None, {}, [f"{key.dotted}={value}"])
    except ConfigError as error:
        assert "do: this is a fraction" not in str(error)
        assert key.dotted in str(error), "only another key can make a value within its bounds impossible"
    else:
        assert value_of(from_file.settings, key) == value
        assert value_of(from_flag.settings, key) == value
