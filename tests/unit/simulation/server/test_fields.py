"""What is read from a request is exact, or a 400 that names the field."""

from __future__ import annotations

import pytest

from turbine_agent.protocol.constants import UINT256_MAX
from turbine_agent.simulation.server import fields
from turbine_agent.simulation.server.refusals import RefusedError


@pytest.mark.parametrize(
    ("value", "read"),
    [(7, 7), ("7", 7), ("007", 7), (UINT256_MAX, UINT256_MAX), (str(UINT256_MAX), UINT256_MAX), (0, 0)],
)
def test_an_integer_is_a_number_or_a_text_of_digits(value: object, read: int) -> None:
    assert fields.integer({"size": value}, "size") == read


@pytest.mark.parametrize("value", [7.0, "7.0", "1e3", "-1", "+1", " 7", "", "٣", True, None, [7], "9" * 79])
def test_nothing_else_is_an_integer(value: object) -> None:
    with pytest.raises(RefusedError, match="size must be an integer") as caught:
        fields.integer({"size": value}, "size")
    assert caught.value.status == 400


@pytest.mark.parametrize("value", [-1, 10, "10"])
def test_an_integer_is_within_its_bounds(value: object) -> None:
    with pytest.raises(RefusedError, match="size must be between 0 and 9"):
        fields.integer({"size": value}, "size", 0, 9)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b'{"a":NaN}', b"\xff", b"[" * 5_000])
def test_a_body_is_a_json_object(data: bytes) -> None:
    with pytest.raises(RefusedError, match=r"JSON"):
        fields.json_object(data)


def test_an_address_is_read_in_any_case_and_told_in_its_own() -> None:
    proper = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert fields.address({"owner": proper.lower()}, "owner") == proper
    for wrong in ("", None, "0x12", proper + "0", 5):
        with pytest.raises(RefusedError, match="owner"):
            fields.address({"owner": wrong}, "owner")


def test_a_market_id_may_be_short_and_without_its_prefix() -> None:
    assert fields.wire_market_id("ABC") == "0x" + "abc".zfill(64)
    with pytest.raises(RefusedError, match="invalid market id"):
        fields.wire_market_id("BTC")


def test_a_signature_in_parts_is_padded() -> None:
    assert fields.split_signature({"v": 28, "r": "0x1", "s": "2"}) == "1".zfill(64) + "2".zfill(64) + "1c"
    with pytest.raises(RefusedError, match="32 bytes"):
        fields.split_signature({"v": 28, "r": "0x" + "1" * 65, "s": "2"})
    with pytest.raises(RefusedError, match="v must be between"):
        fields.split_signature({"v": 256, "r": "1", "s": "2"})
