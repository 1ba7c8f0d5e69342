"""What a network does with an image, seen from outside: which modules it calls, and whether each takes exactly what the
one before gave, so that calling them in turn is the network. Nothing is computed where PyTorch can do without numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Call:
    """One call of a module, or of the function that was traced, whose path is "".

    calls: those that it made itself, in order. linear: whether they hand on one tensor from its input to its output,
    with nothing done in between. mutates: whether its input has other values afterwards.
    """

    path: str
    calls: list[Call] = field(default_factory=list)
    linear: bool = True
    mutates: bool = False
    input: Tensor | None = None
    version: int = -1
    value: Any = None
    value_version: int = -1

    def enter(self, given: Any) -> None:
        self.input = given if isinstance(given, Tensor) else None
        self.version = _version(given)
        self.value, self.value_version = given, self.version

    def take(self, call: Call) -> None:
        """A call begins: it is next in line if it is given what flows, as it came out of the last one."""
        goes_on = call.input is not None and call.input is self.value and call.version == self.value_version
        self.linear = self.linear and goes_on
        self.calls.append(call)

    def give(self, output: Any) -> None:
        """It ends with this output."""
        self.linear = self.linear and output is self.value and _version(output) == self.value_version
        self.mutates = self.input is not None and _version(self.input) != self.version


def trace(network: nn.Module, run: Callable[[Tensor], Any], value: Tensor) -> tuple[Call, Any]:
    """What `run` calls of the network's modules, given a value, and what it gives."""
    root = Call("")
    root.enter(value)
    stack = [root]

    def begin(path: str, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        call = Call(path)
        call.enter(arguments[0] if len(arguments) == 1 and not named else None)
        stack[-1].take(call)
        stack.append(call)

    def end(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        stack.pop().give(output)
        stack[-1].value, stack[-1].value_version = output, _version(output)

    hooks = []
    for path, module in network.named_modules():
        if path:
            before = lambda module, arguments, named, path=path: begin(path, module, arguments, named)  # noqa: E731
            hooks += [module.register_forward_pre_hook(before, with_kwargs=True), module.register_forward_hook(end)]
    try:
        # Versions, by which a change in place shows, are not counted in inference mode.
        with torch.inference_mode(False), torch.no_grad():
            output = run(value)
    finally:
        for hook in hooks:
            hook.remove()
    root.give(output)
    return root, output


def without_numbers(network: nn.Module) -> nn.Module:
    """The network on PyTorch's device "meta": shapes alone, no memory and no time."""
    shapes: dict[int, Any] = {}
    with torch.inference_mode(False):
        for parameter in network.parameters():
            shapes[id(parameter)] = nn.Parameter(_on_meta(parameter), requires_grad=parameter.requires_grad)
        for buffer in network.buffers():
            shapes[id(buffer)] = _on_meta(buffer)
        return copy.deepcopy(network, shapes)


def trace_image(network: nn.Module, run: Callable[[nn.Module, Tensor], Any], shape: Sequence[int]) -> tuple[Call, Any]:
    """`trace` of a network that is given one image of zeros (channels, height, width): without numbers, or with them
    where it holds tensors that PyTorch does not know to be its own."""
    try:
        bare = without_numbers(network)
        return trace(bare, lambda image: run(bare, image), _zeros(shape, "meta"))
    except (RuntimeError, NotImplementedError, TypeError):
        return trace(network, lambda image: run(network, image), _zeros(shape, "cpu"))


def _zeros(shape: Sequence[int], device: str) -> Tensor:
    with torch.inference_mode(False):
        return torch.zeros(1, *shape, device=device)


def _on_meta(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _version(value: Any) -> int:
    return value._version if isinstance(value, Tensor) and not value.is_inference() else -1
