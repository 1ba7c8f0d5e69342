"""The names by which bundles that lie elsewhere call this package."""

import importlib
import json

import pytest

from graftwork.imaging.export.monai_bundle import INFERENCE, MASKS

ADDRESSES = [
    f"graftwork.imaging.bundle.{name}" for name in ("load_network", "ReadScand", "WritePredictions", "WriteMasks")
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_exported_bundles_name_is_found_where_they_name_it(address):
    module, _, name = address.rpartition(".")
    assert callable(getattr(importlib.import_module(module), name))


def test_bundles_that_are_exported_name_nothing_else():
    named = [part for part in json.dumps([INFERENCE, MASKS]).split('"') if part.startswith("graftwork.")]
    assert sorted(named) == sorted(ADDRESSES)
