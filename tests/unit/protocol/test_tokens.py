"""Bearer tokens: the vector of the protocol reference (section 8.2), and what is no token."""

from __future__ import annotations

import pytest

from turbine_agent.protocol.tokens import (
    TOKEN_LENGTH_MAX,
    Claims,
    TokenError,
    claims,
    decode,
    encode,
    join,
    payload,
    split,
)

NONCE = "000102030405060708090a0b0c0d0e0f"
PAYLOAD = b'{"kid":"tk_test_0001","n":"000102030405060708090a0b0c0d0e0f","ts":1700000000}'
SIGNATURE = bytes.fromhex(
    "3d508802a0df13a0b6b50c06e7e9374b3620e3c3a9dbdbfe8be0bdd05c60ba7d"
    "5bf064df1e3c8b88546dbacbff72b71bbaa54e7b6890a9f650011f5768ecc708"
)
TOKEN = (
    "eyJraWQiOiJ0a190ZXN0XzAwMDEiLCJuIjoiMDAwMTAyMDMwNDA1MDYwNzA4MDkwYTBiMGMwZDBlMGYiLCJ0cyI6MTcwMDAwMDAwMH0"
    ".PVCIAqDfE6C2tQwG5-k3SzYg48Op29v-i-C90Fxgun1b8GTfHjyLiFRtusv_crcbuqVOe2iQqfZQAR9XaOzHCA"
)


def test_the_token_of_the_vector_is_put_together() -> None:
    assert payload("tk_test_0001", NONCE, 1_700_000_000) == PAYLOAD
    assert join(PAYLOAD, SIGNATURE) == TOKEN


def test_the_token_of_the_vector_is_taken_apart() -> None:
    assert split(TOKEN) == (PAYLOAD, SIGNATURE)
    assert claims(PAYLOAD) == Claims(key_id="tk_test_0001", nonce=NONCE, issued_s=1_700_000_000)


def test_a_payload_may_have_its_keys_in_any_order_and_more_of_them() -> None:
    assert claims(b'{"ts": 5, "kid": "k", "more": [1], "n": "00"}') == Claims(
        key_id="k", nonce="00", issued_s=5
    )


@pytest.mark.parametrize(("age", "is_timely"), [(300, True), (-300, True), (301, False), (-301, False)])
def test_a_token_is_good_for_five_minutes_both_ways(age: int, is_timely: bool) -> None:
    token = Claims(key_id="k", nonce=NONCE, issued_s=1_700_000_000)
    assert token.is_timely(1_700_000_000 + age) is is_timely


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "abc",
        TOKEN.partition(".")[0],
        TOKEN[:-2],
        TOKEN + ".x",
        TOKEN.replace("-", "+"),
        TOKEN + "=",
        " " + TOKEN,
        TOKEN.replace("e", "é", 1),
        "a" * TOKEN_LENGTH_MAX + "." + TOKEN.partition(".")[2],
    ],
    ids=lambda text: text[:12],
)
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(TokenError):
        split(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"kid":1,"n":"0","ts":5}',
        b'{"kid":"k","n":"0","ts":5.5}',
        b'{"kid":"k","n":"0","ts":"5"}',
        b'{"kid":"k","n":"0","ts":null}',
        b'{"kid":"k","n":"0","ts":1e400}',
    ],
)
def test_what_is_no_payload_is_refused(data: bytes) -> None:
    with pytest.raises(TokenError):
        claims(data)


def test_an_error_never_repeats_the_token() -> None:
    with pytest.raises(TokenError) as caught:
        split(TOKEN[:-2])
    assert TOKEN[:20] not in str(caught.value)


@pytest.mark.parametrize("length", range(1, 5))
def test_base64url_has_no_padding_and_comes_back(length: int) -> None:
    data = bytes(range(250, 250 + length))
    assert "=" not in encode(data)
    assert decode(encode(data)) == data
