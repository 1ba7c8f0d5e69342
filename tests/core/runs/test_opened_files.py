"""What is said of files that were opened: counts by hand."""

from graftwork.core.errors import UnreadableError
from graftwork.core.example import File
from graftwork.core.runs.opened_files import open_files
from graftwork.core.types import Description


def describe(example):
    number = int(example.path)
    if number == 3:
        raise UnreadableError("3: is damaged")
    return Description({"seconds": float(number)}, {"rate_hz": "8000" if number % 2 else "16000"},
                       ("silent",) if number > 7 else ())  # fmt: skip


def test_numbers_words_faults_and_what_cannot_be_read_are_counted():
    found = open_files(describe, [File(str(number)) for number in range(10)])
    assert found.to_json() == {
        "count": 9,
        "numbers": {"seconds": (0.0, 5.0, 9.0)},
        "words": {"rate_hz": {"16000": 5, "8000": 4}},
        "faults": {"silent": ("8", "9")},
        "unreadable": {"3": "3: is damaged"},
    }
    assert str(found).splitlines() == [
        "9 files opened",
        "  seconds: 0 to 9, median 5",
        "  rate_hz: 16000 (5), 8000 (4)",
        "  silent: 2, 8, 9",
        "  cannot be read: 1",
        "    3: is damaged",
    ]
