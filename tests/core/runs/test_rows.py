"""What leaks between parts of a split, and files that hold nearly the same, before anything is learnt of them."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from graftwork.core.data.tables import read_manifest
from graftwork.core.errors import ManifestError
from graftwork.core.runs.train import train


@pytest.fixture
def leaking(table, tmp_path):
    """The table with a split column, and one patient on both sides of it."""
    rows = pd.read_csv(table)
    rows["path"] = [str(table.parent / path) for path in rows["path"]]
    rows["patient"] = rows.pop("group")
    rows["split"] = ["train" if row < 40 else "test" for row in range(len(rows))]
    rows.loc[len(rows) - 1, "patient"] = rows["patient"][0]
    rows.to_csv(tmp_path / "leaking.csv", index=False)
    return tmp_path / "leaking.csv"


def test_a_patient_on_both_sides_of_a_split_is_an_error_unless_it_is_allowed_and_then_said(
    backbone, recipe, leaking, tmp_path
):
    manifest = read_manifest(leaking, shared_groups="allow")
    with pytest.raises(ManifestError, match="is in several parts"):
        train(backbone, manifest, recipe=recipe, out=tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    result = train(backbone, manifest, recipe=recipe, allow_leaks=True, out=tmp_path / "allowed")
    leaks = json.loads((tmp_path / "allowed" / "metrics.json").read_text())["leaks"]
    assert leaks["groups"] >= 1
    assert f"parts are not apart ({leaks['groups']} groups in several" in result.cautions[0]
    assert train(backbone, manifest, recipe=recipe, folds=3).cautions == ()


def test_near_duplicates_are_kept_together_said_and_refused_across_a_split(
    backbone, domain, recipe, table, leaking, tmp_path, caplog
):
    seeing = replace(backbone, domain=replace(domain, near_duplicates=lambda rows: [(0, 50)]))
    caplog.set_level("INFO")
    train(seeing, read_manifest(table), recipe=recipe, folds=3, out=tmp_path / "together")
    found = json.loads((tmp_path / "together" / "metrics.json").read_text())["near_duplicates"]
    assert (found["how"], found["sets"], found["rows"]) == ("together", 1, 2)
    assert "1 sets of 2 rows hold nearly the same" in caplog.text
    folds = pd.read_csv(tmp_path / "together" / "predictions.csv").set_index("row")["fold"]
    assert folds[2] == folds[52]
    manifest = replace(read_manifest(leaking, shared_groups="allow"), groups=None)
    with pytest.raises(ManifestError, match="holds nearly the same as"):
        train(seeing, manifest, recipe=recipe)
    assert train(seeing, manifest, recipe=recipe, near_duplicates="report").cautions == ()
