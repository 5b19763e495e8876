"""The queries of docs/journal.md run, on a journal that has rows for them."""

from __future__ import annotations

import re
from pathlib import Path

import apsw
import pytest
from tests.unit.journal.bench import write

TEXT = (Path(__file__).parents[3] / "docs" / "journal.md").read_text(encoding="utf-8")
QUERIES = [
    query.strip()
    for block in re.findall(r"(?ms)^```sql\n(.*?)^```", TEXT)
    for query in block.split(";\n")
    if query.strip()
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_documents_runs(query: str, tmp_path: Path) -> None:
    write(tmp_path / "j")
    connection = apsw.Connection(str(tmp_path / "j"))
    connection.execute(query).fetchall()
    connection.close()


def test_there_are_queries_in_the_documents() -> None:
    assert len(QUERIES) >= 5
