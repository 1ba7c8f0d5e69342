"""What a call changes of the process and gives back: generators, determinism, the environment, the current GPU."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from graftwork.core.compute.allocator import freed_memory_kept

VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "ACCELERATE_DISABLE_RICH")
"""Those that `start_runtime` sets."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, a call may seed, and ask for determinism, as it needs; afterwards, and after an error, the caller's own
    generators of torch, NumPy and Python, flags, variables and GPU are as they were. Freed memory is kept meanwhile.

    A decorator as well, of everything that people call. A GPU that was first used inside has no earlier state.
    """
    import numpy as np
    import torch  # what only lists commands has no need of it

    in_use = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    device = torch.cuda.current_device() if in_use else None
    generators = torch.cuda.get_rng_state_all() if in_use else []
    tensors, arrays, numbers = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    deterministic = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # a module that tells types no attributes
    filled = memory.fill_uninitialized_memory
    known = {name: os.environ.get(name) for name in VARIABLES}
    try:
        with freed_memory_kept():
            yield
    finally:
        for name, value in known.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        torch.use_deterministic_algorithms(deterministic, warn_only=warns)
        memory.fill_uninitialized_memory = filled
        random.setstate(numbers)
        np.random.set_state(arrays)  # noqa: NPY002
        torch.set_rng_state(tensors)
        if device is not None:
            torch.cuda.set_rng_state_all(generators)
            torch.cuda.set_device(device)
