"""Devices by name: what `--device` means here, and what the device is called in a table."""

from __future__ import annotations

from litesam_bench.errors import UsageError
from litesam_bench.records.provenance import cpu_name


def pick_device(requested: str) -> str:
    """Resolve `auto` to cuda, mps or cpu, and check that the requested device exists.

    Raises UsageError naming the device that is not there.
    """
    import torch

    if requested == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=requested)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(
            f"device {requested!r} cannot be used: {reason}", fix="--device cpu, or --device auto"
        ) from error
    return requested


def describe_device(device: str) -> str:
    """The device as its maker names it, e.g. `NVIDIA H200`."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else cpu_name()
