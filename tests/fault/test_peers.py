"""The list of what peers' users met: every test it names exists, and the page is made from it."""

from __future__ import annotations

import re

import pytest
from tests.fault.catalogue import ROOT, missing
from tests.fault.peers import PEERS, REPORTS, Report, page


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.threads[0])
def test_a_report_has_its_threads_and_tests_that_exist(report: Report) -> None:
    assert report.threads
    for thread in report.threads:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", thread), thread
    assert report.shown
    assert len(set(report.shown)) == len(report.shown)
    assert missing(report.shown) == []


def test_every_conversation_answers_a_report_whose_thread_it_names() -> None:
    source = (ROOT / PEERS).read_text(encoding="utf-8")
    written = dict(re.findall(r'^def (test_\w+)\(.*\n    """((?:.|\n)*?)"""', source, re.MULTILINE))
    answers = {
        test.partition("::")[2]: report for report in REPORTS for test in report.shown if PEERS in test
    }
    assert set(written) == set(answers)
    for name, told in written.items():
        assert answers[name].threads[0] in told, name


def test_the_page_is_made_from_the_list() -> None:
    assert (ROOT / "docs" / "peers.md").read_text(encoding="utf-8") == page()
