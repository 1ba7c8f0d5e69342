"""What interrupts a run in the tests of training."""

import pytest


class PowerCutError(Exception):
    """The power goes out."""


@pytest.fixture
def interrupt():
    def after(epoch):
        def stop(row):
            if row["epoch"] == epoch:
                raise PowerCutError

        return stop

    return after
