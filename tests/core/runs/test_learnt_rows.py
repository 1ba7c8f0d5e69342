"""What a run has learnt from is known again, and texts are not told by it."""

import numpy as np
import pandas as pd

from graftwork.core.data.manifest import Manifest
from graftwork.core.example import Text
from graftwork.core.runs.learnt_rows import NAME, find_overlap, write_learnt_rows


def sentences(*texts):
    labels = np.arange(len(texts)) % 2
    return Manifest("table", tuple(map(Text, texts)), "single-label", "label", ("bad", "good"), labels)


def test_sentences_are_known_again_by_their_digests_and_stand_nowhere(tmp_path):
    write_learnt_rows(tmp_path, sentences("a fine film", "a private letter"), None)
    assert "letter" not in (tmp_path / NAME).read_text(encoding="utf-8")
    assert list(pd.read_csv(tmp_path / NAME, keep_default_na=False)["path"]) == ["", ""]
    found = find_overlap(tmp_path, sentences("another film", "a private letter", "a third"))
    assert (found.rows, found.training, found.validation) == (3, 1, 0)
