"""Documents that cannot rot: what they list is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.planted_bugs import BUGS, ROOT, Bug, source_of

from turbine_agent.model.reasons import Halt, Reason
from turbine_agent.runtime.alerts import AlertCode

RUNBOOK = (ROOT / "RUNBOOK.md").read_text(encoding="utf-8")


def rows(text: str, heading: str) -> set[str]:
    """Names in backticks in the first column of the tables below a heading."""
    section = text.split(f"## {heading}")[1].split("\n## ", maxsplit=1)[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def test_the_runbook_explains_every_reason_for_not_quoting_and_no_other() -> None:
    assert rows(RUNBOOK, "Why is it not quoting?") == {reason.value for reason in Reason}


def test_the_runbook_explains_every_halt_and_no_other() -> None:
    assert rows(RUNBOOK, "Halts") == {halt.value for halt in Halt}


def test_the_runbook_has_a_section_for_every_alert_and_no_other() -> None:
    """An alert names its page of the runbook by its code."""
    section = RUNBOOK.split("\n## Alerts\n")[1].split("\n## ", maxsplit=1)[0]
    page = r"(?m)^#### `(\w+)`\n\n((?:.+\n)+)\n- The agent: (.+(?:\n  .+)*)\n- You: (.+(?:\n  .+)*)$"
    pages = re.findall(page, section)
    codes = [code for code, *_ in pages]
    assert len(codes) == len(set(codes)) == section.count("#### ")
    assert set(codes) == {halt.value for halt in Halt} | {code.value for code in AlertCode}


def test_every_lesson_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "lessons.md").read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
    assert numbers == list(range(1, 31))
    named = re.findall(r"`(tests/[\w/.]+)`", text)
    assert named
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_every_lesson_has_a_planted_bug_that_would_unlearn_it() -> None:
    assert {bug.lesson for bug in BUGS} == set(range(31))  # 0: of no lesson.


@pytest.mark.parametrize(
    "document",
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "ROADMAP.md", "RUNBOOK.md"],
)
def test_links_within_the_repository_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_still_fits_the_sources_and_names_a_test(bug: Bug) -> None:
    assert source_of(bug).read_text(encoding="utf-8").count(bug.right) == 1
    assert Path(ROOT, bug.caught_by.split("::")[0]).is_file()
