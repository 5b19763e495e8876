"""Signatures, tokens and order ids equal to the official client's, and keys that cannot be shown."""

from __future__ import annotations

import json
import pickle
import traceback

import msgspec
import pytest
from coincurve import PublicKey
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey
from turbine_client.auth import ApiCredentials, BearerTokenAuth  # type: ignore[import-untyped]
from turbine_client.signer import Signer as OfficialSigner  # type: ignore[import-untyped]
from turbine_client.types import OrderArgs  # type: ignore[import-untyped]
from turbine_client.types import Outcome as OfficialOutcome
from turbine_client.types import Side as OfficialSide

from turbine_agent.core.identity import IdSource
from turbine_agent.exchange.turbine.signing import (
    Approval,
    CredentialError,
    LocalSigner,
    Permit,
    Redemption,
    Secret,
    SigningRefusedError,
    TokenMinter,
    api_secret,
    wallet_secret,
)
from turbine_agent.exchange.turbine.wire import order_body
from turbine_agent.model.ids import MarketId
from turbine_agent.model.markets import Outcome, Side
from turbine_agent.model.orders import OrderDraft, OrderTerms
from turbine_agent.model.units import SECOND, Nanos, Price, Qty
from turbine_agent.protocol.constants import (
    AVALANCHE,
    BASE_SEPOLIA,
    POLYGON,
    UINT64_MAX,
    UINT256_MAX,
    ZERO_ADDRESS,
    Chain,
)
from turbine_agent.protocol.eip712 import address_of, checksum_address, order_digest
from turbine_agent.protocol.tokens import claims, split

KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
TRADER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
SEED = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
PUBLIC = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


def signer(chain: Chain = POLYGON, recipient: str = ZERO_ADDRESS, *settlements: str) -> LocalSigner:
    return LocalSigner(wallet_secret(KEY), chain, settlements=settlements, maker_fee_recipient=recipient)


def terms(**changes: object) -> OrderTerms:
    usual = OrderTerms(
        market_id=MarketId("0x" + "11" * 32),
        outcome=Outcome.YES,
        side=Side.BUY,
        price=Price(500_000),
        qty=Qty(2_000_000),
        nonce=7378697629483820646,
        expires_s=1_900_000_000,
    )
    return msgspec.structs.replace(usual, **changes)


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


# -- orders --------------------------------------------------------------------------------------------------

A_HASH = "0x56f20750971baa0a6cb04771fd2a429df83b625a40c8b3f4d3cd882102d5013b"


def test_vector_a() -> None:
    signed = signer().sign_order(terms(), settlement=POLYGON.settlement)
    assert signed.trader == TRADER
    assert signed.order_id == A_HASH == signer().naming.identify(terms())
    assert signed.signature == (
        "0xd8cf0b5008a08863003b702984587833003bca9ef23a701be40dc317d00c5483"
        "2774f4b869101b9999a6a2b9f5b4cd0957fe42d610f605bdb3e77c9e7d1246351b"
    )


def test_vector_b_with_the_trader_as_recipient() -> None:
    order = terms(
        market_id=MarketId("0x0ebd4a6987912c3e9e16174f4c63afa1ff30d4203cba8e6a1d0ca0d073e0c895"),
        side=Side.SELL,
        outcome=Outcome.NO,
        price=Price(999_999),
        qty=Qty(1),
        nonce=1,
        expires_s=2_000_000_000,
    )
    signed = signer(POLYGON, TRADER.lower()).sign_order(order, settlement=POLYGON.settlement)
    assert signed.order_id == "0x09ff13ed875c48b58afae956c49ef465101c8ba02ca97368422d0fd51f8c7d38"
    assert signed.signature == (
        "0x7fc2cd6421b6b5fbd1361062ea2280f9d5097b7a3e3399cae77731e8b2263303"
        "06e704537a33e0cbb6f069d27768732dbc933f9ee8629ebb0a511bbdf2433afc1b"
    )


def test_vector_c_on_another_settlement_contract() -> None:
    older = signer(POLYGON, ZERO_ADDRESS, AVALANCHE.settlement.lower())
    signed = older.sign_order(terms(), settlement=AVALANCHE.settlement.lower())
    assert signed.order_id == A_HASH
    assert signed.signature == (
        "0x1fa268d969318bc0ceb6aa5dcc93ea405cf59d239741e59f7086f4898f24d423"
        "71acf651d3242ac7edd57b415ca5e99c6ad463a003681493dec2264449fb4f801b"
    )


def test_vector_d_on_another_chain() -> None:
    signed = signer(AVALANCHE).sign_order(terms(), settlement=AVALANCHE.settlement)
    assert signed.order_id == A_HASH
    assert signed.signature == (
        "0xc46d504212fdf08cae5d3534bc88c9031da5b5d4317e0af4e42fa69f79a643f3"
        "5b637c83dee241dfa5e79d97aa145e33ba423d4b4804a39c7d391f9ef8ddb9af1b"
    )


def test_vector_e_with_a_short_market_id_and_the_largest_nonce() -> None:
    order = terms(
        market_id=MarketId("0xabc123"),
        outcome=Outcome.NO,
        price=Price(1),
        qty=Qty(123_456_789),
        nonce=UINT64_MAX,
    )
    signed = signer(POLYGON, TRADER).sign_order(order, settlement=POLYGON.settlement)
    assert signed.order_id == "0xf319278f8595191424937518d2d5087de5034ecf9575245480c0ad815abbbf30"
    assert signed.signature == (
        "0xb6427d958aaa41eafb0945569e3ca41a7eb1c79c9ca2d51dafd57f7eb8c84bd2"
        "0d73b678e8f709ee7b5d2295effc5eb31d83238c562545d27df5db924d936cd31b"
    )


@given(
    key=st.integers(1, 2**255).map(lambda number: f"{number:064x}"),
    chain=st.sampled_from([POLYGON, AVALANCHE]),
    recipient=st.one_of(
        st.just(ZERO_ADDRESS), st.binary(min_size=20, max_size=20).map(lambda b: "0x" + b.hex())
    ),
    order=st.builds(
        OrderTerms,
        market_id=st.binary(min_size=32, max_size=32).map(lambda b: MarketId("0x" + b.hex())),
        outcome=st.sampled_from(Outcome),
        side=st.sampled_from(Side),
        price=st.integers(1, 999_999).map(Price),
        qty=st.integers(1, 10**18).map(Qty),
        nonce=st.integers(1, UINT64_MAX),
        expires_s=st.integers(1, 2**40),
    ),
)
def test_any_order_is_signed_named_and_sent_as_by_the_official_client(
    key: str, chain: Chain, recipient: str, order: OrderTerms
) -> None:
    ours = LocalSigner(wallet_secret(key), chain, maker_fee_recipient=recipient)
    signed = ours.sign_order(order, settlement=chain.settlement)
    theirs = OfficialSigner(key, chain.chain_id).sign_order(
        OrderArgs(
            market_id=order.market_id,
            side=OfficialSide(order.side),
            outcome=OfficialOutcome(order.outcome),
            price=order.price,
            size=order.qty,
            expiration=order.expires_s,
            nonce=order.nonce,
            maker_fee_recipient=checksum_address(recipient),
        )
    )
    assert signed.order_id == theirs.order_hash
    assert json.loads(order_body(signed)) == theirs.to_dict()
    assert list(json.loads(order_body(signed))["order"]) == list(theirs.to_dict()["order"])
    raw = bytes.fromhex(signed.signature[2:])
    assert int.from_bytes(raw[32:64], "big") <= HALF_ORDER
    digest = order_digest(
        ours.naming.struct_hash(order), chain_id=chain.chain_id, settlement=chain.settlement
    )
    found = PublicKey.from_signature_and_message(raw[:64] + bytes((raw[64] - 27,)), digest, hasher=None)
    assert address_of(found.format(compressed=False)) == ours.naming.trader


def test_the_core_names_an_order_before_it_is_signed() -> None:
    draft = OrderDraft(
        market_id=MarketId("0x" + "11" * 32),
        outcome=Outcome.YES,
        side=Side.BUY,
        price=Price(500_000),
        qty=Qty(2_000_000),
        expires_s=1_900_000_000,
    )
    order_id, named = IdSource(signer().naming.identify).name(draft, Nanos(1_800_000_000 * SECOND))
    assert signer().sign_order(named, settlement=POLYGON.settlement).order_id == order_id


def test_an_order_for_a_contract_that_is_not_pinned_is_refused() -> None:
    with pytest.raises(SigningRefusedError, match=AVALANCHE.settlement):
        signer().sign_order(terms(), settlement=AVALANCHE.settlement)


# -- permits, approvals, redemptions, registration -----------------------------------------------------------


@pytest.mark.parametrize(
    ("chain", "value", "nonce", "deadline", "r", "s"),
    [
        (
            POLYGON,
            UINT256_MAX,
            0,
            UINT256_MAX,
            "0x16ce0f692e31abd5e1ee5c4d9741ecf13965cd17a21aa311888598dd4a114bbe",
            "0x2734bebfb130be8abe6070311afc7713bfb43b0c0a5258cf3d2cad86a959a676",
        ),
        (
            POLYGON,
            1_122_000,
            7,
            1_900_000_000,
            "0x3e599408e1bf97f606ce08c1a01993074edbcb87711797c7dda67841bb9c9be2",
            "0x6997d746616eb1d8227f6ee8932b93fbe7cded0a960403e8d2503e6303b82765",
        ),
        (
            BASE_SEPOLIA,
            UINT256_MAX,
            0,
            UINT256_MAX,
            "0x99a3c0129bb8242ccc59bc9b5d7c0194520a7b4c231ff91335068af92ae7337f",
            "0x3cd2809c7cefb9ce8607bb49052a76806465d6f29704db0ec88abf2a20249296",
        ),
    ],
    ids=["P1", "P2", "P3"],
)
def test_permit_vectors(chain: Chain, value: int, nonce: int, deadline: int, r: str, s: str) -> None:
    permit = Permit(spender=chain.settlement, value=value, nonce=nonce, deadline=deadline)
    parts = signer(chain).sign_permit(permit)
    assert (parts.v, parts.r, parts.s) == (28, r, s)


def test_approval_vector_s1_keeps_a_leading_zero() -> None:
    approval = Approval(operator=POLYGON.settlement, approved=True, nonce=0, deadline=1_900_000_000)
    parts = signer().sign_approval(approval)
    assert parts.v == 28
    assert parts.r == "0xd4fb15d1b49d482700cb85c2940403db2cfe3ce98d6d75033d823eeb7ff6d4e0"
    assert parts.s == "0x01876351543ef8641eda52ccd7bed221cd295e6ab9d02772fbe20de36cfd3d8a"


def redemption(index_set: int = 1, nonce: int = 3) -> Redemption:
    return Redemption(
        ctf=POLYGON.ctf,
        collateral=POLYGON.usdc.lower(),
        condition_id="0x" + "22" * 32,
        index_set=index_set,
        nonce=nonce,
        deadline=1_900_000_000,
    )


def test_redemption_vectors_r1_and_r2() -> None:
    first = signer().sign_redemption(redemption())
    assert (first.v, first.r, first.s) == (
        27,
        "0x8e6f415371f138291de4e00968f17d3d39793839ca21783ca378d416f13a7122",
        "0x39f5f5dee690b33abe17bfc1dcc93a82330d8e9603845276024481de43bff8f3",
    )
    second = signer().sign_redemption(redemption(2, 4))
    assert (second.v, second.r, second.s) == (
        28,
        "0xc617fcac83058a234fec45e06420e41f275114d137d795742f2ef51cf2ae02b9",
        "0x6e4c7572cc4986cc94692afb8a86075a9af2d2a0079da93b1c4b116575a638ee",
    )


@pytest.mark.parametrize("field", ["ctf", "collateral"])
def test_a_redemption_into_anything_else_is_refused(field: str) -> None:
    with pytest.raises(SigningRefusedError):
        signer().sign_redemption(msgspec.structs.replace(redemption(), **{field: AVALANCHE.settlement}))


def test_a_permit_or_approval_for_anybody_else_is_refused() -> None:
    with pytest.raises(SigningRefusedError):
        signer().sign_permit(Permit(spender=TRADER, value=1, nonce=0, deadline=1))
    with pytest.raises(SigningRefusedError):
        signer().sign_approval(Approval(operator=TRADER, approved=True, nonce=0, deadline=1))


def test_the_registration_of_the_vector() -> None:
    assert signer().sign_registration() == (
        "0x76b1f9357711999c29e673366088f6b74d587af62a4b99271e2f907a305cb956"
        "1314e04ea8b3e55b208a1a4e04f5c04d752edd541fa44a8a99bb7e5c74e435f11c"
    )


@given(key=st.integers(1, 2**255).map(lambda number: f"{number:064x}"))
def test_any_wallet_has_the_address_that_others_compute(key: str) -> None:
    assert LocalSigner(wallet_secret(key), POLYGON).naming.trader == Account.from_key(key).address


# -- tokens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [SEED, "0x" + SEED, SEED + PUBLIC, " " + SEED.upper() + "\n"])
def test_the_token_of_the_vector(key: str) -> None:
    minter = TokenMinter("tk_test_0001", api_secret(key))
    assert minter.mint(1_700_000_000, bytes(range(16))) == (
        "eyJraWQiOiJ0a190ZXN0XzAwMDEiLCJuIjoiMDAwMTAyMDMwNDA1MDYwNzA4MDkwYTBiMGMwZDBlMGYiLCJ0cyI6MTcwMDAwMDAwMH0"
        ".PVCIAqDfE6C2tQwG5-k3SzYg48Op29v-i-C90Fxgun1b8GTfHjyLiFRtusv_crcbuqVOe2iQqfZQAR9XaOzHCA"
    )


@given(key_id=st.text(min_size=1, max_size=40))
def test_a_token_of_the_official_client_is_ours_for_its_time_and_nonce(key_id: str) -> None:
    theirs = BearerTokenAuth(ApiCredentials(key_id, SEED)).generate_token()
    said = claims(split(theirs)[0])
    ours = TokenMinter(key_id, api_secret(SEED)).mint(said.issued_s, bytes.fromhex(said.nonce))
    assert ours == theirs
    SigningKey(bytes.fromhex(SEED)).verify_key.verify(*split(ours))


# -- secrets -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "0x", KEY[:-1], KEY + "0", KEY.replace("a", "g"), "0" * 64, "f" * 64, KEY + PUBLIC]
)
def test_what_is_no_wallet_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(CredentialError) as caught:
        wallet_secret(text)
    assert len(text) < 10 or text[2:] not in str(caught.value)


def test_a_secret_cannot_be_shown_compared_or_copied() -> None:
    secret = wallet_secret(KEY)
    digits = KEY[2:10]
    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{[secret]!r}",
        repr(signer()),
        repr(vars(signer())),
    ):
        assert digits not in shown
        assert str(bytes.fromhex(digits))[2:-1] not in shown
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        assert secret == secret  # noqa: PLR0124
    with pytest.raises(TypeError):
        hash(secret)
    assert not hasattr(Secret, "value")
    assert secret.reveal().hex() == KEY[2:]


def test_a_traceback_through_the_signer_does_not_show_the_key() -> None:
    with pytest.raises(SigningRefusedError) as caught:
        signer().sign_order(terms(), settlement=ZERO_ADDRESS)
    summary = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    text = "".join(summary.format())
    assert "settlement" in text
    assert KEY[2:10] not in text.replace(f"KEY = '{KEY}'", "")
