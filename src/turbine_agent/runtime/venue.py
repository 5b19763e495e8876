"""From settings to the adapter's configuration: one place for every command that speaks to the exchange."""

from __future__ import annotations

from turbine_agent.exchange.turbine.client import ClientConfig
from turbine_agent.exchange.turbine.rollover import RolloverParams
from turbine_agent.model.units import micros_from_text, nanos_from_seconds
from turbine_agent.protocol.constants import STREAM, Chain
from turbine_agent.runtime.settings import Settings, series_of


def client_config(settings: Settings, chain: Chain, host: str | None = None) -> ClientConfig:
    """`host` is another exchange than the settings': its REST address, with the stream on the same port."""
    exchange = settings.exchange
    base_url = (host or exchange.base_url).rstrip("/")
    stream_url = exchange.ws_url if host is None else "ws" + base_url.removeprefix("http") + STREAM
    return ClientConfig(
        base_url=base_url,
        stream_url=stream_url,
        chain=chain,
        schedules=tuple((one.asset, one.minutes) for one in series_of(settings.markets.series)),
        connect_timeout_s=float(exchange.connect_timeout),
        request_timeout_s=float(exchange.request_timeout),
        ack_timeout_s=float(exchange.ack_timeout),
        taker_fee_ppm=micros_from_text(exchange.taker_fee),
        rollover=RolloverParams(poll_ns=nanos_from_seconds(settings.rollover.poll_interval)),
    )
