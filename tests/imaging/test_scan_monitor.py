"""Scans far off those of a training are found, and ordinary ones are not."""

import numpy as np
import pytest
from PIL import Image

from graftwork.core.errors import ContractError
from graftwork.imaging import ImageContract, Scan, read_scan
from graftwork.imaging.scan_monitor import ScanMonitor, far_off, measure, summarise


def scan(rng, spacing_mm=(1.0, 1.0, 1.0), shape=(20, 24, 28), low=0.0, high=1000.0):
    values = rng.uniform(low, high, (1, *shape)).astype(np.float32)
    return Scan(values, "own.nii", spacing_mm=spacing_mm)


@pytest.fixture
def computed(rng):
    """What forty CT scans are like: 0.8 to 1.2 mm, -1000 to about 1500."""
    sides = rng.uniform(0.8, 1.2, 40)
    return summarise([measure(scan(rng, (side, 1.0, 1.0), low=-1000, high=1500 + 100 * rng.normal()))
                      for side in sides])  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"spacing_mm": (1.5, 1.0, 1.0)}, ""),
        ({"shape": (32, 30, 25)}, ""),
        ({"high": 2800}, ""),
        ({"spacing_mm": (5.0, 1.0, 1.0)}, "coarsest spacing 5 mm, where 1 to 1.1"),
        ({"spacing_mm": (1.0, 0.5, 0.5)}, "finest spacing 0.5 mm, where 0.8"),
        ({"spacing_mm": None}, "no spacing, where 0.8"),
        ({"shape": (20, 24, 200)}, "longest side 200 voxels, where 28 to 28 was seen"),
        ({"low": 0, "high": 1}, "values over a range of 0.9"),
        ({"low": 0, "high": 2500}, "lowest values at 0.0"),
    ],
)
def test_a_scan_far_off_is_told_by_what_is_far_off(computed, rng, changes, reason):
    found = far_off(computed, measure(scan(rng, **({"low": -1000, "high": 1500} | changes))))
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


@pytest.mark.parametrize("changes", [
    {"longest": 3}, {"longest": [1]}, {"longest": [0.0, 5.0]}, {"floor": ["a", 1]}, {"shortest": [1, float("nan")]},
    {"coarsest_mm": None},
])  # fmt: skip
def test_ranges_that_nothing_measured_are_refused(computed, changes):
    contract = ImageContract(2, 1, (8, 8), "auto", (0.0,), (1.0,))
    ScanMonitor(contract, {"": computed, "other": {}}, "flag")
    with pytest.raises(ValueError, match="expected"):
        ScanMonitor(contract, {"": computed | changes}, "flag")


def test_where_the_training_differs_in_scale_a_new_scan_may_too(rng):
    """MR has no unit: one scanner writes 0 to 112, another 0 to 1.7 million."""
    seen = summarise([measure(scan(rng, high=high)) for high in 10 ** rng.uniform(2, 6, 40)])
    assert far_off(seen, measure(scan(rng, high=3e7))) == ""
    assert "values over a range" in far_off(seen, measure(scan(rng, high=0.5)))
    assert "lowest values" in far_off(seen, measure(scan(rng, low=-700, high=300)))


def test_one_odd_scan_in_many_does_not_widen_the_range(rng):
    seen = summarise([measure(scan(rng, (9.0, 1.0, 1.0))), *(measure(scan(rng)) for _ in range(150))])
    assert "spacing 5 mm" in far_off(seen, measure(scan(rng, (5.0, 1.0, 1.0))))


def test_of_few_scans_nothing_is_kept_that_would_be_of_one(rng):
    assert summarise([measure(scan(rng)) for _ in range(4)]) == {}
    assert summarise([measure(scan(rng)) for _ in range(5)])["scans"] == 5


def test_a_monitor_reads_what_its_contract_reads(tmp_path, rng):
    for name, high in (("a.png", 200), ("b.png", 3)):
        Image.fromarray(rng.integers(0, high, (30, 30), dtype=np.uint8)).save(tmp_path / name)
    a, b = (str(tmp_path / name) for name in ("a.png", "b.png"))
    contract = ImageContract(2, 1, (16, 16), "auto", (0.0,), (1.0,))
    monitor = ScanMonitor(contract, {}, "flag")
    assert monitor.read(a).equal(contract.read(a))
    seen = summarise(5 * [monitor.measured[a]])
    assert monitor.summary([a]) == {}
    flagging = ScanMonitor(contract, {"first": seen, "second": seen}, "flag")
    assert flagging.read(b).equal(contract.read(b))
    assert list(flagging.outside) == [b]
    assert flagging.outside[b].startswith("first: values")
    assert "; second: values" in flagging.outside[b]
    with pytest.raises(ContractError, match=r"b\.png: is unlike the scans of the training .* values over a range of 2"):
        ScanMonitor(contract, {"": seen}, "refuse").read(b)


@pytest.mark.slow(reason="reads hundreds of scans")
@pytest.mark.parametrize("name", ["brain_mri", "hippocampus"])
def test_honest_scans_of_real_sets_are_not_flagged(real_data, name, rng):
    table = (real_data / name / "manifest.csv").read_text().splitlines()
    measured = [measure(read_scan(str(real_data / name / line.split(",")[0]))) for line in table[1:]]
    order = rng.permutation(len(measured))
    flagged = 0
    for fold in range(5):
        seen = summarise([measured[row] for row in np.delete(order, slice(fold, None, 5))])
        flagged += sum(bool(far_off(seen, measured[row])) for row in order[fold::5])
    assert flagged <= 0.02 * len(measured)
