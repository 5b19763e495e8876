"""Recordings on disk: four formats in, one out. The only files of the research code that open recordings.

`open_recordings` takes files and folders and tells formats apart by their content. It reads headers only;
frames are read, line by line, when somebody iterates them, so a folder never has to fit into memory. Whatever
is malformed raises RecordingError with file, line, what and what to do. Nothing is repaired, and nothing that
cannot be read becomes a zero: a number is exact or it is an error.

    opening       files and folders to markets
    jsonl         JSON lines: our own format, read and written, and `polymarket_btc5m_l2`
    top_of_book   CSV: `polymarket_btc15m_top`, best quotes of both tokens
    quotes        CSV: `kalshi_15m_quotes`, quotes in cents of several assets, no sizes
    recorder      recordings out of a running agent's events
    frames, lines, decimals, table    what the formats stand on: order, bytes, numbers, cells
"""

from __future__ import annotations

from turbine_agent.research.recordings.jsonl import RecordingWriter
from turbine_agent.research.recordings.opening import open_recordings
from turbine_agent.research.recordings.recorder import Recorder
from turbine_agent.simulation.recording import RecordingError

__all__ = ["Recorder", "RecordingError", "RecordingWriter", "open_recordings"]
