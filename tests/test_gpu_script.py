"""What is prepared for a machine with a GPU works, small, on a CPU, and says all that such a machine needs."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent


@pytest.mark.long(reason="every part computes something")
@pytest.mark.slow  # a minute
def test_the_script_runs_every_part_and_writes_its_table(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "examples/benchmarks/gpu.py", "--size", "small", "--out", tmp_path / "gpu.json"],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "gpu.json").read_text())
    parts = {figure["part"] for figure in found["figures"]}
    assert parts >= {"pass", "step", "lora", "speech", "volumes", "reading"}
    assert all(figure["value"] > 0 for figure in found["figures"] if figure["part"] != "tests")
    assert {"card", "versions", "tf32", "seconds"} <= found.keys()
    assert "left out" not in done.stdout


def needed_by(package, extra=""):
    """Names of all packages that an installed one needs, as their metadata say."""
    found, waiting = set(), [(package, extra)]
    while waiting:
        name, wanted = waiting.pop()
        for text in requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker and not any(requirement.marker.evaluate({"extra": one}) for one in (wanted, "")):
                continue
            key = re.sub(r"[-_.]+", "-", requirement.name).lower()
            try:
                distribution(key)
            except PackageNotFoundError:
                continue
            for more in requirement.extras or {""}:
                if (key, more) not in found:
                    found.add((key, more))
                    waiting.append((key, more))
    return {name for name, _ in found} - {package}


def test_the_list_of_packages_beside_torch_is_complete():
    listed = set((ROOT / "docs/gpu-packages.txt").read_text().split())
    wanted = needed_by("graftwork", "all") | needed_by("pytest") | needed_by("hypothesis") | {"pytest", "hypothesis"}
    assert wanted - needed_by("torch") - {"torch", "graftwork"} - listed == set()
