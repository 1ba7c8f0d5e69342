"""Items of reporting guidelines: all of them, and answered only where the report has the section."""

import re
from pathlib import Path

import pytest

from graftwork.core.runs.report import sections
from graftwork.core.runs.report.checklists import CHECKLISTS, CLAIM, TRIPOD_AI, checklist


def test_all_items_are_there():
    assert [item.number for item in CLAIM] == [str(number) for number in range(1, 45)]
    numbers = [int(re.match(r"\d+", item.number).group()) for item in TRIPOD_AI]
    assert sorted(set(numbers)) == list(range(1, 28))
    assert numbers == sorted(numbers)


@pytest.mark.parametrize("name", CHECKLISTS)
def test_items_name_sections_that_there_may_be(name):
    source = Path(sections.__file__).read_text()
    known = {*re.findall(r'^        \("(\w+)", "', source, flags=re.MULTILINE), *sections.GENERIC, "cautions", "maps"}
    assert {section for item in CHECKLISTS[name] for section in item.sections} <= known


def test_what_the_report_has_not_is_the_authors():
    titles = {"metrics": "Metrics"}
    rows = {row[0]: row for row in checklist("CLAIM 2024", titles, titles).rows}
    assert rows["29"][2:] == ("Metrics", "–")
    assert rows["28"][2:] == ("Metrics", "why these")
    assert rows["39"][2:] == ("–", "all of it: what they have in common")
    assert rows["17"][2:] == ("–", "all of it")
    assert "on 5 of 44 items" in checklist("CLAIM 2024", titles, titles).caption
