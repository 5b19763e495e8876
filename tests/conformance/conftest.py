"""Cards, laws and the floor are not test files, but their asserts should say as much when they fail."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "tests.conformance.card", "tests.conformance.cards", "tests.conformance.crowd", "tests.conformance.floor"
)
