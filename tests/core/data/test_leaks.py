"""Groups and files on several sides of a split column."""

import pytest

from graftwork.core.data.leaks import find_leaks, refuse_leaks
from graftwork.core.data.near_duplicates import with_near_duplicates
from graftwork.core.errors import ManifestError


def test_what_leaks_through_a_split_column_is_an_error_that_names_it(rows, alike):
    parts = ("train", "train", "test", "test", "val", "test")
    groups = ("p", "q", "p", "r", "s", "t")
    manifest = rows(["a1", "b1", "c1", "b1", "a2", "d"], parts=parts, groups=groups)
    found = find_leaks(with_near_duplicates(alike[0], manifest, "together")[0])
    assert (found.groups, found.identical, found.alike) == (("p",), ((1, 3),), ((0, 4),))
    assert find_leaks(manifest).alike == ()
    with pytest.raises(ManifestError) as caught:
        refuse_leaks(manifest, found)
    text = str(caught.value)
    for said in ("group 'p' is in several parts", "row 3: ", "holds the same as", "row 2: ",
                 "holds nearly the same as", "1 group in several, 1 pair of rows with the same content, ",
                 "1 pair with nearly the same", "--allow-leaks"):  # fmt: skip
        assert said in text
    clean = find_leaks(rows(["a", "b"], parts=("train", "test"), groups=("p", "q")))
    assert not clean
    refuse_leaks(manifest, clean)
    assert not find_leaks(rows(["a", "a"], groups=("p", "p")))
