"""From the settings to what the adapter needs to connect."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from turbine_agent.exchange.turbine.client import ClientConfig
from turbine_agent.exchange.turbine.dry_run import PaperAccount
from turbine_agent.exchange.turbine.rollover import RolloverParams
from turbine_agent.model.units import Money, micros_from_text, nanos_from_seconds
from turbine_agent.protocol.constants import CHAINS, STREAM
from turbine_agent.runtime.settings import Settings, series_of


class AddressError(Exception):
    """There is no connecting to this. The text says what is wrong and what to do."""


def client_config(settings: Settings, host: str | None, *, sends_tokens: bool) -> ClientConfig:
    """Where and how to connect. A `host` that is named has its stream where Turbine has it.

    Raises AddressError for an address that is none, a chain that the exchange is not on, and, if tokens are
    to be sent, for one that they would travel to unencrypted.
    """
    exchange = settings.exchange
    base = exchange.base_url if host is None else host.rstrip("/")
    if not re.fullmatch(r"https?://[A-Za-z0-9._\-\[\]:]+(?:/[^\s?#@]*)?", base):
        raise AddressError(
            f"{base!r} is no address of an exchange\n  do: give one like https://api.turbinefi.com or"
            " http://127.0.0.1:8787, without credentials"
        )
    if sends_tokens and not (base.startswith("https:") or is_here(base)):
        raise AddressError(
            f"{base}: tokens would travel unencrypted\n  do: use https, or an exchange on this machine"
        )
    if exchange.chain_id not in CHAINS:
        known = ", ".join(str(number) for number in CHAINS)
        raise AddressError(
            f"exchange.chain_id {exchange.chain_id}: not one of the exchange's\n  do: use one of {known}"
        )
    return ClientConfig(
        base_url=base,
        stream_url=exchange.ws_url if host is None else "ws" + base.removeprefix("http") + STREAM,
        chain=CHAINS[exchange.chain_id],
        schedules=tuple((one.asset, one.minutes) for one in series_of(settings.markets.series)),
        connect_timeout_s=float(exchange.connect_timeout),
        request_timeout_s=float(exchange.request_timeout),
        ack_timeout_s=float(exchange.ack_timeout),
        taker_fee_ppm=micros_from_text(exchange.taker_fee),
        rollover=RolloverParams(poll_ns=nanos_from_seconds(settings.rollover.poll_interval)),
    )


def paper_account(settings: Settings) -> PaperAccount:
    """What a dry run begins with."""
    return PaperAccount(Money(micros_from_text(settings.paper.cash_usdc)))


def is_here(base: str) -> bool:
    """Is the address one of this machine?"""
    name = urlsplit(base).hostname or ""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
