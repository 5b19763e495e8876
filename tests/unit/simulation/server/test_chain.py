"""Allowances, approvals, nonces and claims, by way of the relayer's paths."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.unit.simulation.server.desk import BUY, SELL, SWITCHES, Desk, Wallet, good, refusal

from turbine_agent.model.markets import Outcome
from turbine_agent.model.units import MICROS
from turbine_agent.protocol.constants import (
    ORDERS,
    POLYGON,
    RELAY_APPROVAL,
    RELAY_BATCH_REDEMPTION,
    RELAY_PERMIT,
    RELAY_REDEMPTION,
    UINT256_MAX,
    ZERO_WORD,
)
from turbine_agent.protocol.eip712 import approval_digest, permit_digest, redemption_digest

NOTHING = msgspec.structs.replace(SWITCHES, allowance=0, is_approved=False)
CONFIRMED_S = 5
"""By then everything that was sent is on chain."""


def permit(wallet: Wallet, value: int, nonce: int, deadline: int = UINT256_MAX) -> dict[str, Any]:
    digest = permit_digest(
        POLYGON,
        owner=wallet.address,
        spender=POLYGON.settlement,
        value=value,
        nonce=nonce,
        deadline=deadline,
    )
    return {
        "chainId": 137,
        "owner": wallet.address,
        "spender": POLYGON.settlement,
        "value": str(value),
        "deadline": str(deadline),
        **wallet.sign_parts(digest),
    }


def approval(wallet: Wallet, nonce: int, *, approved: bool = True) -> dict[str, Any]:
    digest = approval_digest(
        POLYGON,
        owner=wallet.address,
        operator=POLYGON.settlement,
        approved=approved,
        nonce=nonce,
        deadline=UINT256_MAX,
    )
    return {
        "chainId": 137,
        "owner": wallet.address,
        "operator": POLYGON.settlement,
        "approved": approved,
        "deadline": str(UINT256_MAX),
        **wallet.sign_parts(digest),
    }


def redemption(wallet: Wallet, condition_id: str, winner: Outcome, nonce: int) -> dict[str, Any]:
    index_set = 1 if winner is Outcome.YES else 2
    digest = redemption_digest(
        chain_id=137,
        ctf=POLYGON.ctf,
        owner=wallet.address,
        collateral=POLYGON.usdc,
        condition_id=condition_id,
        index_sets=(index_set,),
        nonce=nonce,
        deadline=UINT256_MAX,
    )
    return {
        "chainId": 137,
        "owner": wallet.address,
        "collateralToken": POLYGON.usdc,
        "parentCollectionId": ZERO_WORD,
        "conditionId": condition_id,
        "indexSets": [str(index_set)],
        "deadline": str(UINT256_MAX),
        **wallet.sign_parts(digest),
    }


def balances(desk: Desk, wallet: Wallet) -> tuple[int, int]:
    told = desk.get(f"/api/v1/users/{wallet.address}/balances", chain_id="137", spender=POLYGON.settlement)
    return int(told["balance"]), int(told["allowance"])


def nonce_of(desk: Desk, wallet: Wallet, contract: str) -> int:
    return int(desk.get(f"/api/v1/contracts/nonce/{contract}/{wallet.address}", chain_id="137")["nonce"])


# -- allowances --------------------------------------------------------------------------------------------


def test_a_permit_works_once_it_is_on_chain_and_uses_up_its_nonce() -> None:
    desk = Desk(NOTHING)
    wallet = desk.wallet()
    assert balances(desk, wallet) == (1_000 * MICROS, 0)
    told = good(desk.ask("POST", RELAY_PERMIT, permit(wallet, 5 * MICROS, 0), wallet))
    assert told["success"] is True
    assert told["tx_hash"] == told["txHash"]
    path = f"/api/v1/settlements/{told['tx_hash']}"
    assert (balances(desk, wallet)[1], desk.get(path)["status"]) == (0, "pending")
    assert nonce_of(desk, wallet, POLYGON.usdc) == 1
    desk.wait(CONFIRMED_S)
    assert (balances(desk, wallet)[1], desk.get(path)["status"]) == (5 * MICROS, "confirmed")
    again = desk.ask("POST", RELAY_PERMIT, permit(wallet, 5 * MICROS, 0), wallet)
    assert refusal(again) == (400, "InvalidSignature")
    assert desk.ask("POST", RELAY_PERMIT, permit(wallet, UINT256_MAX, 1), wallet).status == 200


@pytest.mark.parametrize(
    ("changed", "status", "why"),
    [
        ({"value": str(6 * MICROS)}, 400, "InvalidSignature"),
        ({"spender": POLYGON.ctf}, 400, "InvalidSignature"),
        ({"v": 26}, 400, "InvalidSignature"),
        ({"owner": "me"}, 400, "Invalid owner address format"),
        ({"owner": POLYGON.ctf}, 403, "API key does not belong to owner"),
        ({"chainId": 1}, 400, "unsupported chain"),
        ({"deadline": "1"}, 400, "expired deadline"),
        ({"value": "1.5"}, 400, "value must be an integer"),
    ],
)
def test_a_permit_that_is_not_its_owners_is_refused(
    changed: dict[str, object], status: int, why: str
) -> None:
    desk = Desk(NOTHING)
    wallet = desk.wallet()
    body = {**permit(wallet, 5 * MICROS, 0), **changed}
    assert refusal(desk.ask("POST", RELAY_PERMIT, body, wallet)) == (status, why)
    desk.wait(CONFIRMED_S)
    assert (balances(desk, wallet)[1], nonce_of(desk, wallet, POLYGON.usdc)) == (0, 0)


def test_without_allowance_an_order_is_accepted_and_its_trades_fail() -> None:
    desk = Desk(NOTHING)
    wallet = desk.wallet()
    desk.house(SELL, 4, 50)
    desk.place(wallet, BUY, 4, 50)
    desk.wait(6)
    (failed,) = desk.get("/api/v1/failed-trades")["failedTrades"]
    assert failed["reason"] == "simulation failed: transfer amount exceeds allowance"
    good(desk.ask("POST", RELAY_PERMIT, permit(wallet, 3 * MICROS, 0), wallet))
    desk.wait(CONFIRMED_S)
    desk.house(SELL, 4, 50)
    desk.place(wallet, BUY, 4, 50)
    desk.wait(6)
    assert len(desk.get("/api/v1/failed-trades")["failedTrades"]) == 1
    assert balances(desk, wallet) == (997_980_000, 980_000)  # two dollars and the fee are spent of three


def test_an_endless_allowance_is_not_used_up() -> None:
    desk = Desk()
    wallet = desk.wallet()
    desk.house(SELL, 4, 50)
    desk.place(wallet, BUY, 4, 50)
    desk.wait(6)
    assert balances(desk, wallet) == (997_980_000, UINT256_MAX)


def test_a_seller_needs_approval_and_an_allowance_for_what_it_splits() -> None:
    desk = Desk(NOTHING)
    wallet = desk.wallet()
    reasons: list[str] = []

    def sell() -> None:
        desk.house(BUY, 4, 50)
        desk.place(wallet, SELL, 4, 50)
        desk.wait(6)
        reasons[:] = [failed["reason"] for failed in desk.get("/api/v1/failed-trades")["failedTrades"]]

    sell()
    assert reasons == ["simulation failed: transfer amount exceeds allowance"]
    good(desk.ask("POST", RELAY_PERMIT, permit(wallet, UINT256_MAX, 0), wallet))
    desk.wait(CONFIRMED_S)
    sell()
    assert reasons[1:] == ["simulation failed: caller is not owner nor approved"]
    good(desk.ask("POST", RELAY_APPROVAL, approval(wallet, 0), wallet))
    desk.wait(CONFIRMED_S)
    sell()
    assert len(reasons) == 2
    assert desk.get(f"/api/v1/positions/{desk.market_id}", wallet)["noShares"] == 4 * MICROS
    good(desk.ask("POST", RELAY_APPROVAL, approval(wallet, 1, approved=False), wallet))
    desk.wait(CONFIRMED_S)
    sell()
    assert len(reasons) == 3


def test_allowances_can_be_switched_off() -> None:
    desk = Desk(msgspec.structs.replace(NOTHING, checks_allowances=False))
    wallet = desk.wallet()
    desk.house(SELL, 4, 50)
    desk.place(wallet, BUY, 4, 50)
    desk.wait(6)
    assert desk.get("/api/v1/failed-trades")["failedTrades"] == []


def test_an_order_may_bring_its_permit() -> None:
    desk = Desk(NOTHING)
    wallet = desk.wallet()
    body = desk.order(wallet, BUY, 4, 50)
    inside = {
        key: value for key, value in permit(wallet, 3 * MICROS, 0).items() if key not in {"chainId", "owner"}
    }
    for changed, why in (
        ({"nonce": 1}, "invalid permit nonce"),
        ({"nonce": 0, "value": 9}, "InvalidSignature"),
    ):
        answer = desk.ask("POST", ORDERS, {**body, "permitSignature": {**inside, **changed}}, wallet)
        assert refusal(answer) == (400, why)
    good(desk.ask("POST", ORDERS, {**body, "permitSignature": {**inside, "nonce": 0}}, wallet))
    assert balances(desk, wallet)[1] == 3 * MICROS


def test_the_obsolete_bodies_of_pypis_client_are_refused() -> None:
    desk = Desk()
    wallet = desk.wallet()
    signature = {"v": 27, "r": "0x1", "s": "0x2"}
    approve = {"owner": wallet.address, "spender": POLYGON.settlement, "value": 1, "deadline": 1, **signature}
    assert refusal(desk.ask("POST", RELAY_APPROVAL, approve, wallet)) == (400, "operator is required")
    redeem = {"marketId": desk.market_id, "amount": 1}
    assert refusal(desk.ask("POST", RELAY_REDEMPTION, redeem, wallet)) == (400, "owner is required")


def test_only_the_two_tokens_have_nonces() -> None:
    desk = Desk()
    path = f"/api/v1/contracts/nonce/{POLYGON.settlement}/{POLYGON.ctf}"
    assert refusal(desk.ask("GET", path)) == (400, "contract has no nonces")


# -- claims ------------------------------------------------------------------------------------------------


class Won:
    """A wallet that holds the winning tokens of one market, or of several in a row."""

    def __init__(self, markets: int = 1, *faults: str) -> None:
        self.desk = Desk(SWITCHES, *faults)
        self.wallet = self.desk.wallet()
        self.entries = []
        for _ in range(markets):
            for outcome in Outcome:  # a complete set: whatever wins, ten shares do
                self.desk.house(SELL, 10, 50, outcome)
                self.desk.place(self.wallet, BUY, 10, 50, outcome)
            self.entries.append(self.desk.entry)
            self.desk.wait(900)
        self.desk.wait(200)

    def claim_data(self) -> list[Any]:
        contracts = ",".join(entry.contract for entry in self.entries)
        told = self.desk.get(
            f"/api/v1/users/{self.wallet.address}/claim-data", chain_id="137", markets=contracts
        )
        return list(told["markets"])

    def redemption(self, place: int = 0, nonce: int = 0) -> dict[str, Any]:
        entry = self.entries[place]
        assert entry.winner is not None
        return redemption(self.wallet, entry.condition_id, entry.winner, nonce)


def test_a_winning_is_found_claimed_and_paid_once() -> None:
    won = Won()
    desk, wallet, entry = won.desk, won.wallet, won.entries[0]
    assert entry.winner is not None
    claimable = desk.get(f"/api/v1/users/{wallet.address}/claimable", chain_id="137", verify="true")
    assert claimable == {
        "claimable": [
            {
                "market_id": entry.market_id,
                "contract_address": entry.contract,
                "outcome_label": entry.winner.name,
                "balance": str(10 * MICROS),
                "payout": "10.00",
            }
        ],
        "count": 1,
        "totalPayout": "10.00",
    }
    (data,) = won.claim_data()
    assert data == {
        "market_address": entry.contract,
        "resolved": True,
        "winning_balance": str(10 * MICROS),
        "ctf_address": POLYGON.ctf,
        "collateral_token": POLYGON.usdc,
        "condition_id": entry.condition_id,
        "winning_outcome": int(entry.winner),
        "ctf_nonce": "0",
    }
    before = balances(desk, wallet)[0]
    told = good(desk.ask("POST", RELAY_REDEMPTION, won.redemption(), wallet))
    (pending,) = desk.get("/api/v1/pending-claims")["pendingClaims"]
    assert (pending["txHash"], pending["userAddress"]) == (told["tx_hash"], wallet.address)
    assert (pending["payout"], pending["marketAddress"]) == (10 * MICROS, entry.contract)
    assert balances(desk, wallet)[0] == before
    desk.wait(CONFIRMED_S)
    assert balances(desk, wallet)[0] == before + 10 * MICROS
    assert desk.get("/api/v1/pending-claims")["pendingClaims"] == []
    assert desk.get(f"/api/v1/users/{wallet.address}/claimable")["count"] == 0
    desk.wait(15)
    again = desk.ask("POST", RELAY_REDEMPTION, won.redemption(nonce=1), wallet)
    assert refusal(again) == (400, "simulation failed: nothing to redeem")
    assert desk.get("/api/v1/user-stats", wallet)["pnl"] == -100_000  # the fees


def test_a_batch_uses_one_nonce_for_each_of_its_markets() -> None:
    won = Won(markets=2)
    desk, wallet = won.desk, won.wallet
    same = {"owner": wallet.address, "redemptions": [won.redemption(0, 0), won.redemption(1, 0)]}
    assert refusal(desk.ask("POST", RELAY_BATCH_REDEMPTION, same, wallet)) == (400, "InvalidSignature")
    ownerless = {"redemptions": [won.redemption(0, 0)]}
    assert refusal(desk.ask("POST", RELAY_BATCH_REDEMPTION, ownerless, wallet)) == (400, "owner is required")
    assert nonce_of(desk, wallet, POLYGON.ctf) == 0
    before = balances(desk, wallet)[0]
    both = {"owner": wallet.address, "redemptions": [won.redemption(0, 0), won.redemption(1, 1)]}
    assert good(desk.ask("POST", RELAY_BATCH_REDEMPTION, both, wallet))["success"] is True
    assert nonce_of(desk, wallet, POLYGON.ctf) == 2
    desk.wait(CONFIRMED_S)
    assert balances(desk, wallet)[0] == before + 20 * MICROS


def test_claims_are_fifteen_seconds_apart() -> None:
    won = Won(markets=2)
    desk, wallet = won.desk, won.wallet
    assert desk.ask("POST", RELAY_REDEMPTION, won.redemption(0, 0), wallet).status == 200
    desk.wait(14.9)
    early = desk.ask("POST", RELAY_REDEMPTION, won.redemption(1, 1), wallet)
    assert refusal(early) == (429, "claims must be 15 seconds apart")
    desk.wait(0.1)
    assert desk.ask("POST", RELAY_REDEMPTION, won.redemption(1, 1), wallet).status == 200


@pytest.mark.parametrize(
    ("changed", "status", "why"),
    [
        ({"collateralToken": POLYGON.ctf}, 400, "unknown collateral token"),
        ({"parentCollectionId": "0x" + "11" * 32}, 400, "parentCollectionId must be zero"),
        ({"conditionId": "0x" + "22" * 32}, 400, "InvalidSignature"),
        ({"conditionId": "xyz"}, 400, "conditionId must be 32 bytes in hex"),
        ({"indexSets": []}, 400, "indexSets is required"),
        ({"indexSets": ["3"]}, 400, "InvalidSignature"),
        ({"indexSets": ["9"]}, 400, "indexSets must be between 1 and 3"),
        ({"deadline": "1"}, 400, "expired deadline"),
    ],
)
def test_a_redemption_that_cannot_work_is_refused(changed: dict[str, object], status: int, why: str) -> None:
    won = Won()
    answer = won.desk.ask("POST", RELAY_REDEMPTION, {**won.redemption(), **changed}, won.wallet)
    assert refusal(answer) == (status, why)
    assert nonce_of(won.desk, won.wallet, POLYGON.ctf) == 0


def test_the_losing_tokens_and_an_open_market_cannot_be_redeemed() -> None:
    won = Won()
    desk, wallet, entry = won.desk, won.wallet, won.entries[0]
    assert entry.winner is not None
    wrong = redemption(wallet, entry.condition_id, entry.winner.other, 0)
    nothing = (400, "simulation failed: nothing to redeem")
    assert refusal(desk.ask("POST", RELAY_REDEMPTION, wrong, wallet)) == nothing
    early = redemption(wallet, desk.entry.condition_id, Outcome.YES, 0)
    told = refusal(desk.ask("POST", RELAY_REDEMPTION, early, wallet))
    assert told == (400, "simulation failed: result for condition not received yet")
    unresolved = desk.get(f"/api/v1/users/{wallet.address}/claim-data", markets=desk.entry.contract)[
        "markets"
    ]
    assert (unresolved[0]["resolved"], unresolved[0]["winning_outcome"]) == (False, None)


def test_a_claim_can_fail_and_be_made_again() -> None:
    won = Won(1, "none", "claim-failure=1")
    desk, wallet = won.desk, won.wallet
    before = balances(desk, wallet)[0]
    told = good(desk.ask("POST", RELAY_REDEMPTION, won.redemption(), wallet))
    desk.wait(CONFIRMED_S)
    (failed,) = desk.get("/api/v1/failed-claims")["failedClaims"]
    assert failed["txHash"] == told["tx_hash"]
    assert desk.get(f"/api/v1/settlements/{told['tx_hash']}")["status"] == "failed"
    assert balances(desk, wallet)[0] == before
    desk.exchange.faults.clear()
    desk.wait(15)
    assert desk.ask("POST", RELAY_REDEMPTION, won.redemption(nonce=1), wallet).status == 200
    desk.wait(CONFIRMED_S)
    assert balances(desk, wallet)[0] == before + 10 * MICROS
