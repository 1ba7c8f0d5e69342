"""Which device computes, and in which precision."""

from __future__ import annotations

import torch

from graftwork.core.errors import SettingsError


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is a CUDA device where there is one. Raises SettingsError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"unknown device {name!r}; expected auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingsError(f"device {name!r} is not there; found {torch.cuda.device_count()} CUDA devices")
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(f"unknown device {name!r}; expected auto, cpu, cuda or cuda:N")
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """ "fp32", "bf16" or "fp16". Raises SettingsError for fp16 on a CPU, where training in it does not work."""
    if name == "auto":
        if device.type == "cpu":
            return "fp32"
        # Older cards only emulate it, many times slower.
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if name == "fp16" and device.type == "cpu":
        raise SettingsError("precision fp16 needs a GPU; on a CPU use fp32 or bf16")
    return name
