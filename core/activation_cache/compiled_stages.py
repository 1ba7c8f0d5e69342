"""The frozen stages as what they are, inference: without a graph, and compiled where that pays."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from graftwork.core.compute.runtime import Runtime
from graftwork.core.errors import SettingsError
from graftwork.core.model.backbone import Backbone
from graftwork.core.recipe import Compile
from graftwork.core.types import Features

log = logging.getLogger(__name__)

COMPILE_SECONDS_PER_LAYER = 0.5
"""Of torch.compile on a CPU: MobileNetV2 with its 52 convolutions took 21 to 27 s on two cores."""

COMPILER_SECONDS = 3.0
"""To import torch's compiler, whatever it is given to do."""

COMPILED_SPEED = {"cpu": 1.15, "cuda": 1.5}
"""How much faster compiled stages run than eager ones in the same memory format: the middle of 1.0 to 1.3 times for
six networks on two cores with freed memory kept, given up where it does not come true; on a GPU a guess."""

UNCOMPILED = "--compile on: frozen stages of clips of unequal length run uncompiled, as compiled code is of one shape"
"""What is said, and kept in the record of a run, where that is so."""

TIMED = range(2, 8)
"""Batches that are timed; the first ones pay for allocations, and the fastest counts, as others may have waited."""


def cannot_compile(error: BaseException) -> bool:
    """Whether torch.compile says that it cannot do something: no compiler is here, or an operation is unknown to it.

    Not so where memory is short, be it while compiling, or where the network itself fails.
    """
    from torch._dynamo import exc as dynamo
    from torch._inductor import exc as inductor

    cause: BaseException | None = error
    while cause is not None:  # what fails in a backend comes in a shell
        if isinstance(cause, (torch.OutOfMemoryError, MemoryError, dynamo.TorchRuntimeError)):
            return False
        cause = getattr(cause, "inner_exception", None) or cause.__cause__ or cause.__context__
    refusals = (dynamo.TorchDynamoException, inductor.OperatorIssue, inductor.SubgraphLoweringException,
                inductor.InvalidCxxCompiler, inductor.CppWrapperCodegenError, inductor.CppCompileError)  # fmt: skip
    return isinstance(error, refusals)


class FrozenStages:
    """Runs stages `start` up to `stop` of a backbone that is on the runtime's device, batch by batch.

    examples, batch_size: how much is to come, which says whether compiling repays. Only whole batches of one shape are
    sent through compiled code; a smaller last one is filled up and cut again.
    """

    def __init__(
        self, backbone: Backbone, start: int, stop: int, runtime: Runtime, compile: Compile, examples: int,
        batch_size: int,
    ) -> None:  # fmt: skip
        self.backbone = backbone
        self.start = start
        self.stop = stop
        self.runtime = runtime
        self.mode = compile
        self.batch_size = batch_size
        self.left = -(-examples // batch_size)
        self.done = 0
        self.fastest = float("inf")
        self.compiled_done = 0
        self.compiled_fastest = float("inf")
        self.compiled: Callable[..., tuple[Tensor, ...]] | None = None

    def __call__(self, batch: Features) -> Features:
        """Features on the device. After a batch that did not fit in its memory, smaller ones are run uncompiled."""
        try:
            return self._run(batch)
        except torch.OutOfMemoryError:
            self.compiled, self.mode = None, "off"  # compiled code would fill them up again
            raise

    def _run(self, batch: Features) -> Features:
        with torch.inference_mode(), self.runtime.autocast():
            sent = self.runtime.send(batch)
            if self.mode == "on" and self.compiled is None:
                self._compile_or_warn(sent)
            began = time.monotonic()
            if self.compiled is not None:
                result = self._run_compiled(self.compiled, sent)
                self._keep_if_faster(began)
            else:
                result = replace(self.backbone.run(sent, self.start, self.stop), masks=sent.masks)
                self._consider(sent, began)
        self.left -= 1
        self.done += 1
        return result

    def _compile_or_warn(self, sent: Features) -> None:
        """Compiled code is of one shape, and clips are of many."""
        if sent.lengths is None:
            self._compile(sent)
        elif self.done == 0:
            log.warning(UNCOMPILED)

    def _consider(self, sent: Features, began: float) -> None:
        """Compiles if what is left would take longer than compiling it and running it compiled."""
        if self.mode != "auto" or self.done not in TIMED or sent.lengths is not None:
            return
        self.fastest = min(self.fastest, self._since(began))
        if self.done < TIMED[-1]:
            return
        saved = self.fastest * (self.left - 1) * (1 - 1 / COMPILED_SPEED[self.runtime.device.type])
        if saved > COMPILER_SECONDS + COMPILE_SECONDS_PER_LAYER * self._layers():
            self._compile(sent)

    def _keep_if_faster(self, began: float) -> None:
        """Goes back to eager code where compiled batches, the fastest of as many, turn out no faster."""
        if self.mode != "auto" or self.compiled_done == len(TIMED):
            return
        self.compiled_fastest = min(self.compiled_fastest, self._since(began))
        self.compiled_done += 1
        if self.compiled_done == len(TIMED) and self.compiled_fastest >= self.fastest:
            log.info("compiled, the frozen stages are no faster: they run uncompiled")
            self.compiled, self.mode = None, "off"

    def _since(self, began: float) -> float:
        """Seconds, once the device has done what it was given."""
        if self.runtime.device.type == "cuda":
            torch.cuda.synchronize(self.runtime.device)
        return time.monotonic() - began

    def _layers(self) -> int:
        stages = self.backbone.stages[self.start : self.stop]
        return sum(
            parameter.dim() > 1 and any(stage.holds(name) for stage in stages)
            for name, parameter in self.backbone.network.named_parameters()
        )

    def _compile(self, sent: Features) -> None:
        log.info("compiling %d frozen layers, for %d batches to come", self._layers(), self.left)
        compiled = torch.compile(self._values, options={"freezing": True})
        try:
            self._run_compiled(compiled, sent)
        except Exception as error:
            if not cannot_compile(error):
                raise
            if self.mode == "on":
                raise SettingsError(
                    f"--compile on: torch.compile cannot do it here ({error}); use auto or off"
                ) from error
            log.info("torch.compile cannot do it here: the frozen stages run uncompiled")
            self.mode = "off"
            return
        self.compiled = compiled

    def _values(self, values: Tensor, *skips: Tensor) -> tuple[Tensor, ...]:
        found = self.backbone.run(Features(values, None, skips), self.start, self.stop)
        return (found.values, *found.skips)

    def _run_compiled(self, compiled: Callable[..., tuple[Tensor, ...]], sent: Features) -> Features:
        rows = len(sent)
        whole = Features(sent.values, None, sent.skips)
        if rows < self.batch_size:
            filled = [torch.cat([maps, maps[:1].expand(self.batch_size - rows, *maps.shape[1:])])
                      for maps in (sent.values, *sent.skips)]  # fmt: skip
            whole = self.runtime.send(Features(filled[0], None, tuple(filled[1:])))
        values, *skips = (maps[:rows] for maps in compiled(whole.values, *whole.skips))
        return Features(values, None, tuple(skips), sent.masks)
