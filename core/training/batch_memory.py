"""What a batch takes of a CPU's memory, found before it is taken: there a process is killed, a GPU would say so."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from graftwork.core.compute.memory import free_bytes
from graftwork.core.compute.runtime import seed_everything
from graftwork.core.data.examples import epoch_augment, load_batches
from graftwork.core.training.gradients import LoopContext, batch_norm_explained, summed_loss

log = logging.getLogger(__name__)

PEAK = 1.6
"""How much more than what is kept for the gradient a batch takes at its peak: 1.16 times of MobileNetV2, 1.60 of
ResNet-18, 1.53 of a 3D ResNet-10."""

ACTIVATIONS_PER_INPUT = 1000
"""Networks keep at most about so many bytes for the gradient for each byte of an example: where even that fits, nothing
is measured."""


def saved_bytes(compute: Callable[[], Tensor], network: nn.Module) -> int:
    """Bytes that the computation keeps for its gradient, each piece of memory once, and none of the network's own."""
    kept: dict[int, int] = {}
    own = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        held = compute()  # so that no piece of memory is given to another tensor
    del held
    return sum(kept.values())


def pieces_that_fit(context: LoopContext) -> int:
    """In how many pieces a batch goes through the network on a CPU, so that what its gradient needs fits in this
    process' share of the free memory: 1, 2, 4, … up to one for every row. What does not fit is said.

    It is measured with two rows, the longest ones, which leave no trace. 1 on a GPU, which says itself what does not
    fit; for compiled networks; and where processes wait for each other within a batch.
    """
    rows, runtime = context.rows, context.runtime
    if runtime.device.type != "cpu" or context.recipe.compile == "on" or context.tied:
        return 1
    most = max((len(runtime.share(batch.tolist())) for one in context.batches for batch in one), default=0)
    free = free_bytes(runtime.device)
    order = sorted(range(len(rows)), key=lambda row: 0.0 if rows.seconds is None else -rows.seconds[row])
    if not most or most * ACTIVATIONS_PER_INPUT * _example_bytes(context, order[0]) <= free:
        return 1
    chosen = order[: min(2, most)]
    augment = epoch_augment(context.augment, len(rows), context.recipe.seed, 0)
    features = next(load_batches(rows, [chosen], augment=augment, seed=context.recipe.seed))
    before = [buffer.clone() for buffer in context.graft.moving_buffers()]
    context.graft.train(True)
    seed_everything(context.recipe.seed)
    try:
        with batch_norm_explained(len(chosen)):
            kept = saved_bytes(lambda: summed_loss(context, features, chosen, 0.0), context.graft)
    finally:
        for buffer, value in zip(context.graft.moving_buffers(), before, strict=True):
            buffer.copy_(value)
    each = kept * PEAK / len(chosen)
    pieces = 1
    while pieces < most and each * -(-most // pieces) > free:
        pieces *= 2
    if pieces > 1:
        log.warning("batches of %d examples need about %.1f GB for their gradients, %.1f GB are free: they go through "
                    "the network in %d pieces; a BatchNorm that learns has less to average", most, each * most / 1e9,
                    free / 1e9, min(pieces, most))  # fmt: skip
    return min(pieces, most)


def _example_bytes(context: LoopContext, row: int) -> int:
    tensors = context.rows.tensors
    example = context.rows.contract.blank() if tensors is None else tensors[row * context.rows.views]
    return example.numel() * 4
