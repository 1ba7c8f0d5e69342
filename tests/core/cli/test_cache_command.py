"""The verb that shows and clears the cache."""

import json
import os
import time

import pytest

from graftwork.core.activation_cache.eviction import clear, stores
from graftwork.core.cli.cache_command import cache_command


@pytest.fixture
def cache(tmp_path):
    """Two stores, one of them used just now, and a folder of somebody else."""
    for name, size, hours in (("old", 5000, 5), ("new", 300, 0)):
        folder = tmp_path / "cache" / name
        folder.mkdir(parents=True)
        (folder / "store.json").write_text(json.dumps({"schema": "graftwork-store-9"}))
        (folder / "rows.bin").write_bytes(bytes(size))
        os.utime(folder / "store.json", times=(time.time() - 3600 * hours,) * 2)
    (tmp_path / "cache" / "thesis").mkdir()
    (tmp_path / "cache" / "thesis" / "chapter.txt").write_text("mine")
    return tmp_path / "cache"


def test_stores_are_listed_the_last_used_first(commands, cache, capsys):
    _, run, _ = cache_command(commands)
    run(cache=str(cache), clear=False, json=False)
    out = capsys.readouterr().out
    assert out.index("new") < out.index("old")
    assert "5 hours ago" in out
    assert f"2 stores, 0.0 MB: {cache}" in out
    run(cache=str(cache), clear=False, json=True)
    found = json.loads(capsys.readouterr().out)
    assert [one["bytes"] for one in found["stores"]] == [one.bytes for one in stores(cache)]
    assert found["stores"][1]["bytes"] > 5000


def test_clearing_leaves_what_is_in_use_and_what_is_not_ours(commands, cache, capsys):
    _, run, _ = cache_command(commands)
    run(cache=str(cache), clear=True, json=False)
    assert "1 stores are in use and stay" in capsys.readouterr().out
    assert sorted(path.name for path in cache.iterdir()) == ["new", "thesis"]
    assert clear(cache) == 0
