"""The demo runs on the networks in the package, in both domains, and leaves its table and its pictures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parent.parent / "examples" / "demo.py"
PICTURES = ("imaging/learning_curve.png", "imaging/saliency.png", "audio/learning_curve.png", "audio/det.png")


@pytest.mark.long(reason="trains sixteen small networks")
@pytest.mark.slow(reason="trains twelve small networks")
def test_the_demo_shows_every_strategy_beside_scratch(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, str(DEMO), "--out", str(tmp_path)],
        capture_output=True, text=True, timeout=600, env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if "│" in line]
    expected = [(domain, labels, strategy) for domain, counts in (("imaging", (40, 160)), ("audio", (40, 100)))
                for labels in counts for strategy in ("probe", "lora", "full", "scratch")]  # fmt: skip
    assert [(row[0], int(row[1]), row[2]) for row in rows] == expected
    for domain, place in (("imaging", 0), ("audio", 8)):
        lower = float(rows[place][5].split("[")[1].split(",")[0])
        assert lower > 0, f"{domain}: with 40 labels the probe is no better than scratch"
    for picture in PICTURES:
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.glob("*/runs/*/evaluation.png"))) == len(expected)
    assert str(tmp_path) in result.stdout.splitlines()[-1]
