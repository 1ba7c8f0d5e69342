"""What is said about files of other versions, by every kind of file of the program's own."""

import pytest

from graftwork.core.versions import advice_on_schema, version_of


@pytest.mark.parametrize(("found", "newer"), [(3, True), (1, False), (None, False), ("3", False), (True, False)])
def test_only_a_higher_number_is_of_a_newer_version(found, newer):
    said = advice_on_schema(found, 2, "train it anew")
    assert said == ("a newer graftwork wrote it: upgrade graftwork" if newer else "train it anew")


def test_a_package_that_is_not_installed_has_no_version():
    assert version_of("torch")[0].isdigit()
    assert version_of("no-such-package") == "unknown"
