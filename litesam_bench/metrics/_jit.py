"""The one place that names numba: a typed decorator for compiled kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` on first call and keep the machine code on disk for the next process.

    The GIL is released while it runs. Floating point stays IEEE (no fastmath), so that kernels can
    equal their C and NumPy references bit for bit.
    """
    return cast(Callable[P, R], numba.njit(cache=True, nogil=True)(function))
