"""Frozen stages give the same eagerly and compiled, and are compiled only where that repays."""

from dataclasses import replace

import pytest
import torch
from torch._dynamo.exc import BackendCompilerFailed
from torch._inductor.exc import InvalidCxxCompiler

from graftwork.core.activation_cache import compiled_stages as module
from graftwork.core.activation_cache.compiled_stages import TIMED, FrozenStages
from graftwork.core.compute.runtime import start_runtime
from graftwork.core.errors import SettingsError
from graftwork.core.types import Features


def batches(sizes):
    generator = torch.Generator().manual_seed(0)
    return [Features(torch.randn(size, 1, 8, 8, generator=generator)) for size in sizes]


@pytest.mark.slow(reason="compiles a small network")
def test_compiled_stages_give_what_eager_ones_give_in_a_smaller_last_batch_too(backbone, recipe):
    runtime = start_runtime(recipe)
    sizes = [8, 8, 3]
    eager = FrozenStages(backbone, 0, 3, runtime, "off", 19, 8)
    compiled = FrozenStages(backbone, 0, 3, runtime, "on", 19, 8)
    for batch in batches(sizes):
        torch.testing.assert_close(compiled(batch).values, eager(batch).values, atol=2e-5, rtol=0)
    assert compiled.compiled is not None
    assert eager.compiled is None


@pytest.fixture
def asked(monkeypatch):
    """After how many batches the frozen stages wanted to be compiled."""
    batches_done = []
    monkeypatch.setattr(FrozenStages, "_compile", lambda self, sent: batches_done.append(self.done))
    return batches_done


def lasting(backbone, monkeypatch, seconds):
    """The backbone on a clock by which the first stage takes so many seconds for each batch in turn."""
    now = [0.0]
    durations = iter(seconds)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    stem = backbone.stages[0]

    def run(network, features):
        now[0] += next(durations)
        return stem.run(network, features)

    return replace(backbone, stages=(replace(stem, run=run), *backbone.stages[1:]))


@pytest.mark.parametrize(("examples", "compiles"), [(160, False), (10**6, True)])
def test_auto_compiles_when_the_examples_to_come_repay_it(backbone, recipe, monkeypatch, asked, examples, compiles):
    frozen = FrozenStages(lasting(backbone, monkeypatch, [0.01] * 12), 0, 3, start_runtime(recipe), "auto", examples, 8)
    for batch in batches([8] * 12):
        frozen(batch)
    assert asked == ([TIMED[-1]] if compiles else [])


@pytest.mark.parametrize("stalled", TIMED)
def test_one_stalled_batch_does_not_decide(backbone, recipe, monkeypatch, asked, stalled):
    seconds = [3600.0 if batch == stalled else 0.01 for batch in range(12)]
    frozen = FrozenStages(lasting(backbone, monkeypatch, seconds), 0, 3, start_runtime(recipe), "auto", 160, 8)
    for batch in batches([8] * 12):
        frozen(batch)
    assert asked == []


def failing(self, compiled, sent):
    raise InvalidCxxCompiler


def test_where_it_cannot_be_compiled_auto_goes_on_and_on_says_so(backbone, recipe, monkeypatch, caplog):
    monkeypatch.setattr(FrozenStages, "_run_compiled", failing)
    (batch,) = batches([8])
    with pytest.raises(SettingsError, match=r"(?s)--compile on: .*C\+\+ compiler.*; use auto or off"):
        FrozenStages(backbone, 0, 3, start_runtime(recipe), "on", 8, 8)(batch)
    monkeypatch.setattr(module, "COMPILE_SECONDS_PER_LAYER", -1.0)
    frozen = FrozenStages(backbone, 0, 3, start_runtime(recipe), "auto", 8000, 8)
    with caplog.at_level("INFO"):
        found = [frozen(batch).values for _ in range(12)]
    assert "run uncompiled" in caplog.text
    assert all(torch.equal(one, found[0]) for one in found)


@pytest.mark.parametrize("mode", ["on", "auto"])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no room"), RuntimeError("shapes differ"), MemoryError()])
def test_errors_that_are_not_the_compilers_are_not_taken_for_its(backbone, recipe, monkeypatch, mode, error):
    def fail(self, compiled, sent):
        raise error

    monkeypatch.setattr(FrozenStages, "_run_compiled", fail)
    monkeypatch.setattr(module, "COMPILE_SECONDS_PER_LAYER", -1.0)
    frozen = FrozenStages(backbone, 0, 3, start_runtime(recipe), mode, 8000, 8)
    (batch,) = batches([8])
    with pytest.raises(type(error)):  # noqa: PT012  # auto first counts batches
        for _ in range(12):
            frozen(batch)


def test_memory_that_runs_out_while_compiling_is_no_refusal():
    def wrapped(cause):
        return BackendCompilerFailed(lambda: None, cause, None)

    assert module.cannot_compile(wrapped(ValueError("no such operation")))
    short = wrapped(torch.OutOfMemoryError("no room"))
    short.__cause__ = torch.OutOfMemoryError("no room")
    assert not module.cannot_compile(short)
    assert not module.cannot_compile(wrapped(torch.OutOfMemoryError("no room")))


def test_clips_are_not_compiled_and_that_is_said_once(backbone, recipe, asked, caplog):
    clips = [replace(batch, lengths=torch.full((8,), 8)) for batch in batches([8, 8])]
    frozen = FrozenStages(backbone, 0, 3, start_runtime(recipe), "on", 16, 8)
    for batch in clips:
        frozen(batch)
    assert asked == []
    assert caplog.text.count(module.UNCOMPILED) == 1


def test_loading_the_compiler_counts_too(backbone, recipe, monkeypatch, asked):
    """What is to come would repay the compilation of the layers, but not these seconds as well."""
    saved = (
        module.COMPILE_SECONDS_PER_LAYER * FrozenStages(backbone, 0, 3, start_runtime(recipe), "auto", 8, 8)._layers()
        + 1
    )
    examples = 8 * round(saved / (1 - 1 / module.COMPILED_SPEED["cpu"]) / 0.01 + TIMED[-1] + 2)
    for overhead, expected in ((module.COMPILER_SECONDS, []), (0.0, [TIMED[-1]])):
        monkeypatch.setattr(module, "COMPILER_SECONDS", overhead)
        frozen = FrozenStages(
            lasting(backbone, monkeypatch, [0.01] * 12), 0, 3, start_runtime(recipe), "auto", examples, 8
        )
        for batch in batches([8] * 12):
            frozen(batch)
        assert asked == expected


@pytest.mark.parametrize(("compiled", "stays"), [(0.02, False), (0.01, False), (0.005, True)])
def test_compiled_code_that_is_no_faster_is_given_up(backbone, recipe, monkeypatch, caplog, compiled, stays):
    seconds = [0.01] * 8 + [1.0] + [compiled] * 8 + [0.01] * 20
    slow = lasting(backbone, monkeypatch, seconds)
    monkeypatch.setattr(module.torch, "compile", lambda values, options: values)
    frozen = FrozenStages(slow, 0, 3, start_runtime(recipe), "auto", 10**6, 8)
    with caplog.at_level("INFO"):
        found = [frozen(batch).values for batch in batches([8] * 20)]
    assert (frozen.compiled is not None) is stays
    assert ("no faster" in caplog.text) is not stays
    assert len(found) == 20
