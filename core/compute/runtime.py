"""Where and how a run is computed: its device, precision and processes. Accelerate is known here and nowhere else."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from graftwork.core.compute.batch_statistics import SharedBatchStatistics
from graftwork.core.compute.communication import communicating
from graftwork.core.compute.cores import processes_here
from graftwork.core.compute.determinism import Determinism
from graftwork.core.compute.device import choose_device, choose_precision
from graftwork.core.compute.overlap import to_host
from graftwork.core.compute.shards import clip_norm, is_sharded
from graftwork.core.errors import SettingsError
from graftwork.core.recipe import Recipe
from graftwork.core.types import Features

BUCKET_BYTES = 64 * 2**20
"""Gradients are exchanged in pieces of this size."""

FIRST_SCALE = 2.0**16
"""What the loss is multiplied by in fp16 at first, as torch has it."""

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Runtime:
    """One process' share of the computation; one process of one is the ordinary case.

    scaler: multiplies the loss in fp16, whose small gradients would be zero, and passes over updates that overflow;
    does nothing in other precisions. Its state belongs to that of a run.
    """

    accelerator: Any
    device: torch.device
    precision: str
    channels_last: bool
    workers: int
    scaler: torch.amp.GradScaler
    determinism: Determinism

    @property
    def pins(self) -> bool:
        """Whether batches are made in page-locked memory, so that copies to the device need no waiting."""
        return self.device.type == "cuda"

    @property
    def rank(self) -> int:
        return int(self.accelerator.process_index)

    @property
    def processes(self) -> int:
        return int(self.accelerator.num_processes)

    def autocast(self) -> AbstractContextManager[None]:
        """Inside, layers compute in the run's precision where torch holds that to be safe."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, _AUTOCAST[self.precision])

    def record(self) -> dict[str, Any]:
        """What the digits of a result depend on beside its settings, as plain values: the device, the precision, and
        on a GPU whether single-precision products of matrices and convolutions are rounded (TF32)."""
        if self.device.type == "cpu":
            return {"device": "cpu", "precision": self.precision}
        return {"device": torch.cuda.get_device_name(self.device), "precision": self.precision,
                "tf32": {"matrices": torch.backends.cuda.matmul.allow_tf32,
                         "convolutions": torch.backends.cudnn.allow_tf32}}  # fmt: skip

    def place(self, module: nn.Module) -> nn.Module:
        """The module on the device, its filters in the memory format of the run."""
        module.to(self.device)
        if self.channels_last:
            for layer in module.modules():
                if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                    layer.to(memory_format=torch.channels_last)
                elif isinstance(layer, (nn.Conv3d, nn.ConvTranspose3d)):
                    layer.to(memory_format=torch.channels_last_3d)
        return module

    def release(self, module: nn.Module) -> nn.Module:
        """The module on the CPU, in the ordinary memory format: as it was before `place`."""
        return module.to("cpu").to(memory_format=torch.contiguous_format)

    def send(self, features: Features) -> Features:
        """A batch on the device, without waiting for the copy, images and volumes in the run's memory format; lengths
        stay where they are, so that nobody has to wait for the device to ask for one."""
        sent = replace(features.to(self.device, non_blocking=True), lengths=features.lengths)
        if not self.channels_last or sent.values.dim() not in (4, 5):
            return sent
        layout = torch.channels_last if sent.values.dim() == 4 else torch.channels_last_3d
        return replace(sent, values=sent.values.contiguous(memory_format=layout))

    def send_tensor(self, tensor: Tensor) -> Tensor:
        """A small tensor of the CPU on the device, without waiting for what the device has still to do."""
        return (tensor.pin_memory() if self.pins else tensor).to(self.device, non_blocking=True)

    def backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], norm: float) -> None:
        """One update from the gradients of the parameters, clipped together to this norm (0: as they are), and none
        afterwards. In fp16 an update whose gradients overflow is passed over, and later losses are scaled by less."""
        self.scaler.unscale_(optimiser)
        if norm > 0:
            clip_norm(parameters, norm)
        self.scaler.step(optimiser)
        self.scaler.update()
        optimiser.zero_grad()

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Adds up the processes' gradients. The same tensors must learn in all of them; a gradient that is missing in
        one, because it had no row, counts as zero. Those of tensors in parts are summed already."""
        if self.processes == 1:
            return
        import torch.distributed as dist

        parameters = [parameter for parameter in parameters if not is_sharded(parameter)]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([parameter.grad for parameter in parameters if parameter.grad is not None]):
            flat: Any = torch.cat([gradient.reshape(-1) for gradient in bucket])
            with communicating():
                dist.all_reduce(flat)
            for gradient, summed in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
                gradient.copy_(summed.view_as(gradient))

    def batch_statistics(self) -> AbstractContextManager[Any]:
        """Inside, BatchNorm in training mode uses the statistics of the whole batch, not of this process' share."""
        return SharedBatchStatistics() if self.processes > 1 else nullcontext()

    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Gives every process the first one's values: of buffers that each has moved by its own share. Tensors in parts
        are the same everywhere."""
        if self.processes > 1:
            import torch.distributed as dist

            with communicating():
                for tensor in tensors:
                    if not is_sharded(tensor):
                        dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Until every process is here."""
        with communicating():
            self.accelerator.wait_for_everyone()

    def share(self, index: Sequence[int]) -> Sequence[int]:
        """This process' part of a batch of row numbers."""
        return index[self.rank :: self.processes]

    def total(self, value: float) -> float:
        """Sum of a number over the processes."""
        if self.processes == 1:
            return value
        with communicating():
            return float(self.accelerator.reduce(torch.tensor(value, device=self.device, dtype=torch.float32), "sum"))

    def sum_later(self, value: Tensor) -> Callable[[], float]:
        """Begins to sum a number on the device over the processes; called, the result waits for the sum alone, not for
        what the device was given afterwards."""
        if self.processes > 1:
            with communicating():
                value = self.accelerator.reduce(value, "sum")
        summed = to_host(value)
        return lambda: float(summed())

    def gather(self, rows: Sequence[int], values: Tensor, count: int) -> Tensor:
        """Values (count, …) in the order of the row numbers, every row once, on every process, on the CPU."""
        if self.processes > 1:
            from accelerate.utils import gather_object

            with communicating():
                pieces = gather_object([(list(rows), values.cpu())])
            rows = [row for piece in pieces for row in piece[0]]
            values = joined([piece[1] for piece in pieces])
        ordered = torch.empty((count, *values.shape[1:]), dtype=values.dtype)
        ordered[torch.as_tensor(rows, dtype=torch.long)] = values.cpu()
        return ordered


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Parts (rows, width) below each other; narrower ones, as of short transcripts, get zeros behind."""
    width = max(part.shape[1] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in parts])


def is_first() -> bool:
    """Whether this process is the one that writes files and prints results."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or int(os.environ.get("RANK", "0")) == 0


def _buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Tensors of one type in groups of bounded size, which are exchanged at once."""
    buckets: list[list[Tensor]] = []
    size = 0
    for tensor in tensors:
        if not buckets or size + tensor.nbytes > BUCKET_BYTES or buckets[-1][0].dtype != tensor.dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(tensor)
        size += tensor.nbytes
    return buckets


def start_runtime(recipe: Recipe) -> Runtime:
    """The runtime a recipe asks for. Raises SettingsError for a device or precision that is not there."""
    # Accelerate asks this variable for its own bar and for nothing else we use.
    os.environ.setdefault("ACCELERATE_DISABLE_RICH", "1")
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    device = choose_device(recipe.device)
    precision = choose_precision(recipe.precision, device)
    strict = device.type == "cuda" and recipe.deterministic == "on"
    if device.type == "cuda":
        # Equal commands write equal bytes. Outside of updates, kernels without a deterministic form only warn.
        torch.use_deterministic_algorithms(strict, warn_only=True)
    if strict:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # Nothing here reads memory that it has not written; to fill all of it first takes a kernel for each tensor.
        memory: Any = torch.utils.deterministic
        memory.fill_uninitialized_memory = False
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    elif device.type == "cuda" and processes_here() > torch.cuda.device_count():
        raise SettingsError(
            f"{processes_here()} processes on this machine, which has {torch.cuda.device_count()} CUDA devices: start "
            "as many as it has (torchrun --nproc-per-node), or use --device cpu"
        )
    # Accelerate remembers the device of its first use for the whole process; every run chooses its own.
    AcceleratorState._reset_state(int(os.environ.get("WORLD_SIZE", "1")) == 1)
    # `place` and `send` put everything where it belongs; Accelerate would move it to its own first device.
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="no", device_placement=False)
    if device.type == "cuda" and device.index is None:
        device = accelerator.device
    if accelerator.num_processes > 1:
        # A process whose neighbour left while its own communication threads still ran would abort at its exit.
        atexit.unregister(_leave_together)
        atexit.register(_leave_together)
    scaler = torch.amp.GradScaler(device.type, init_scale=FIRST_SCALE, enabled=precision == "fp16")
    return Runtime(accelerator, device, precision, recipe.memory_format == "channels-last", recipe.workers, scaler,
                   Determinism(strict=strict))  # fmt: skip


def _leave_together() -> None:
    """Ends the communication of this process, if it has not ended."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def seed_everything(*numbers: int) -> None:
    """Seeds torch's generators from any numbers, such as (seed, epoch, step): no state has to be saved to resume."""
    import numpy as np

    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))
