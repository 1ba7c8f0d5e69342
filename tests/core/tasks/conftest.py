"""Target cells without a table."""

import pytest


class Cells:
    """Notes what is wrong, as `(message, index, column)`, and what is said."""

    def __init__(self):
        self.notes, self.warnings = [], []

    def note(self, message, index=None, column=None):
        self.notes.append((message, index, column))

    def warn(self, message):
        self.warnings.append(message)

    def same_names(self, column, cells):
        return cells


@pytest.fixture
def cells():
    return Cells()
