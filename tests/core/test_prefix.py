"""Frozen stages give the same eagerly and compiled, and are compiled only where that repays."""

import pytest
import torch

from graftwork.core import prefix as module
from graftwork.core.backbone import Features
from graftwork.core.errors import SettingsError
from graftwork.core.prefix import TIMED, Prefix
from graftwork.core.runtime import start_runtime


def batches(sizes):
    generator = torch.Generator().manual_seed(0)
    return [Features(torch.randn(size, 1, 8, 8, generator=generator)) for size in sizes]


@pytest.mark.slow(reason="compiles a small network")
def test_compiled_stages_give_what_eager_ones_give_in_a_smaller_last_batch_too(backbone, recipe):
    runtime = start_runtime(recipe)
    sizes = [8, 8, 3]
    eager = Prefix(backbone, 0, 3, runtime, "off", 19, 8)
    compiled = Prefix(backbone, 0, 3, runtime, "on", 19, 8)
    for batch in batches(sizes):
        torch.testing.assert_close(compiled(batch).values, eager(batch).values, atol=2e-5, rtol=0)
    assert compiled.compiled is not None
    assert eager.compiled is None


@pytest.mark.parametrize(("examples", "seconds", "compiles"), [(80, 0.01, False), (10**9, 0.01, True)])
def test_auto_compiles_when_the_examples_to_come_repay_it(backbone, recipe, monkeypatch, examples, seconds, compiles):
    clock = iter(range(10**6))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock) * seconds)
    asked = []
    monkeypatch.setattr(Prefix, "_compile", lambda self, sent: asked.append(self.done))
    frozen = Prefix(backbone, 0, 3, start_runtime(recipe), "auto", examples, 8)
    for batch in batches([8] * 12):
        frozen(batch)
    assert asked == ([TIMED[-1]] if compiles else [])


def test_one_stalled_batch_does_not_decide(backbone, recipe, monkeypatch):
    """Of the timed batches one takes an hour: the fastest counts."""
    times = iter(
        [moment for batch in range(12) for moment in (10.0 * batch, 10.0 * batch + (3600 if batch == 4 else 0.01))]
    )
    monkeypatch.setattr(module.time, "monotonic", lambda: next(times))
    asked = []
    monkeypatch.setattr(Prefix, "_compile", lambda self, sent: asked.append(self.done))
    frozen = Prefix(backbone, 0, 3, start_runtime(recipe), "auto", 160, 8)
    for batch in batches([8] * 12):
        frozen(batch)
    assert asked == []


def failing(self, compiled, sent):
    raise RuntimeError("no compiler")


def test_where_it_cannot_be_compiled_auto_goes_on_and_on_says_so(backbone, recipe, monkeypatch, caplog):
    monkeypatch.setattr(Prefix, "_run_compiled", failing)
    (batch,) = batches([8])
    with pytest.raises(SettingsError, match=r"--compile on: .*no compiler.*; use auto or off"):
        Prefix(backbone, 0, 3, start_runtime(recipe), "on", 8, 8)(batch)
    monkeypatch.setattr(module, "COMPILE_SECONDS_PER_LAYER", -1.0)
    frozen = Prefix(backbone, 0, 3, start_runtime(recipe), "auto", 8000, 8)
    with caplog.at_level("INFO"):
        found = [frozen(batch).values for _ in range(12)]
    assert "run uncompiled" in caplog.text
    assert all(torch.equal(one, found[0]) for one in found)
