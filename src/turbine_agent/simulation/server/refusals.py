"""How a request is refused: a status and a text, raised wherever it turns out."""

from __future__ import annotations

from collections.abc import Mapping


class RefusedError(Exception):
    """The answer is an error. `extra` is added to its object."""

    def __init__(self, status: int, text: str, extra: Mapping[str, object] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.extra = dict(extra or {})
