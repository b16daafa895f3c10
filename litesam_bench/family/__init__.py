"""Networks of the SAM family that differ from SAM's own, one module each.

A module builds its network from a library's blocks where one has them, and has one function
`remap` that turns the official checkpoint's parameter names into the network's.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from litesam_bench.errors import UsageError


def require(module: str, extra: str = "family") -> ModuleType:
    """Import an optional dependency.

    Raises:
        UsageError: it is not installed; the message names the extra that brings it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # it is installed, and something that it needs is not
        raise UsageError(
            f"this system needs the package {module.partition('.')[0]}, which is not installed",
            fix=f"pip install 'litesam-bench[{extra}]'",
        ) from error
