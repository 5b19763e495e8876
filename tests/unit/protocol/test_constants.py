"""The contracts as the official client has them, and addresses that cannot hold a slip of the pen."""

from __future__ import annotations

import pytest
from turbine_client import config  # type: ignore[import-untyped]
from turbine_client import constants as official

from turbine_agent.protocol import constants
from turbine_agent.protocol.constants import AVALANCHE, CHAINS, POLYGON, Chain
from turbine_agent.protocol.eip712 import checksum_address


@pytest.mark.parametrize("chain", [POLYGON, AVALANCHE])
def test_contracts_are_those_of_the_official_client(chain: Chain) -> None:
    theirs = config.CHAIN_CONFIGS[chain.chain_id]
    assert chain.settlement == theirs.settlement_address
    assert chain.ctf == theirs.ctf_address
    assert chain.usdc == theirs.usdc_address


@pytest.mark.parametrize("chain", CHAINS.values(), ids=lambda chain: chain.chain_id)
def test_every_address_has_its_checksum(chain: Chain) -> None:
    for address in (chain.settlement, chain.ctf, chain.usdc):
        assert checksum_address(address.lower()) == address


def test_paths_are_those_of_the_official_client() -> None:
    paths = {value for name, value in vars(constants).items() if isinstance(value, str) and name.isupper()}
    theirs = {
        path.replace("/positions/{market_id}", "/positions/{market}") for path in official.ENDPOINTS.values()
    }
    assert theirs <= paths
    assert official.WS_ENDPOINT == constants.STREAM
    assert official.BEARER_TOKEN_VALIDITY == constants.TOKEN_VALIDITY_S
