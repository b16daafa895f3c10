"""The official `lvis` evaluator, made to run on current NumPy: the reference of `lvis_ap.py`.

`lvis` 0.5.3, the newest release, uses `np.float`, which NumPy removed in 1.24. The name is lent to
NumPy for the duration of a call and taken back, so that no other code sees it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Literal

import numpy as np


@contextmanager
def numpy_float_alias() -> Iterator[None]:
    """`np.float` is the built-in float inside the block; a NumPy that has it is left alone.

    Not for use while other threads test for `np.float`.
    """
    if "float" in vars(np):
        yield
        return
    np.float = float  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del np.float  # type: ignore[attr-defined]


def evaluate_reference(
    dataset: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    *,
    iou_type: Literal["segm", "bbox"] = "segm",
    max_dets: int = 300,
) -> Any:
    """Run `lvis.LVISEval` on a dataset in LVIS's JSON layout; neither argument is changed.

    Returns:
        The `LVISEval` after `run()`: see its `eval` (precision, recall) and `results`.
    """
    from lvis import LVIS, LVISEval, LVISResults

    truth = LVIS.__new__(LVIS)  # its constructor only reads files
    truth.logger = logging.getLogger("lvis.lvis")
    truth.dataset = deepcopy(dict(dataset))
    truth._create_index()
    found = LVISResults(truth, deepcopy([dict(r) for r in results]), max_dets=max_dets)
    evaluator = LVISEval(truth, found, iou_type)
    evaluator.params.max_dets = max_dets
    with numpy_float_alias():
        evaluator.run()
    return evaluator
