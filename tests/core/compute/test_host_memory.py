"""A container's or a job's limit counts, of whichever version of control groups it is."""

import psutil
import pytest

from graftwork.core.compute import host_memory
from graftwork.core.compute.host_memory import available_bytes


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Writes a group's files, and says which group the process is in."""
    monkeypatch.setattr(host_memory, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(host_memory, "OWN_GROUPS", tmp_path / "own")

    def write(own, group, files):
        (tmp_path / "own").write_text(own)
        folder = tmp_path / "cgroup" / group
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text)

    return write


def test_the_limit_of_a_group_counts_without_remembered_files(groups):
    groups("0::/job/step\n", "job/step", {"memory.max": "1000\n", "memory.current": "700\n",
                                          "memory.stat": "anon 600\ninactive_file 100\n"})  # fmt: skip
    assert available_bytes() == 400


def test_the_limit_of_a_group_above_counts_too(groups):
    groups("0::/job/step\n", "job", {"memory.max": "1000\n", "memory.current": "900\n", "memory.stat": ""})
    groups("0::/job/step\n", "job/step", {"memory.max": "max\n", "memory.current": "5\n", "memory.stat": ""})
    assert available_bytes() == 100


def test_the_first_version_is_read_in_a_container_that_shows_its_own_part_alone(groups):
    files = {"memory.limit_in_bytes": "500", "memory.usage_in_bytes": "800", "memory.stat": "total_inactive_file 310"}
    groups("9:cpu:/x\n4:memory:/docker/abc\n", "memory", files)
    assert available_bytes() == 10


def test_without_limits_the_machine_s_memory_counts(groups, monkeypatch):
    groups("0::/\n", "x", {})
    free = psutil.virtual_memory()._replace(available=12345)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    assert available_bytes() == 12345
