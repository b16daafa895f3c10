"""Exact multiply-accumulate counts, and an error where an operator would be missed.

Counters that skip what they do not know made published MACs disagree (attention counted or not).
Here every ATen operator that a forward pass executes is either counted by a formula or on the list
of operators that, by our convention, cost nothing; any other operator is an error that names it.

Convention: one MAC is one multiplication and one addition of a convolution or a matrix product,
attention's two included. Pooling, normalisation, activation, resizing, elementwise arithmetic and
data movement count 0, as in the papers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from litesam_bench.errors import UsageError

aten = torch.ops.aten


@dataclass(frozen=True)
class Complexity:
    """params: number of parameters, buffers excluded. macs: of one forward pass.

    by_submodule: MACs inside each submodule, children included, by its dotted name;
        "" is the module itself.
    """

    params: int
    macs: int
    by_submodule: Mapping[str, int]


def count(
    module: nn.Module, *example: Any, forward: Callable[..., Any] | None = None
) -> Complexity:
    """Count one forward pass of `module` on `example` inputs.

    On the meta device (module and inputs) nothing is computed, so that any size is instant.

    Args:
        forward: what to run, if not the module itself: a method of it or a function of `example`.

    Raises:
        UsageError: the pass executed an operator that is neither counted nor known to be free.
    """
    active: list[str] = []
    with ExitStack() as stack:
        for name, submodule in module.named_modules():
            enter = submodule.register_forward_pre_hook(lambda *_, name=name: active.append(name))
            leave = submodule.register_forward_hook(lambda *_: _drop_last(active))
            stack.callback(enter.remove)
            stack.callback(leave.remove)
        stack.enter_context(torch.no_grad())
        counter = stack.enter_context(_Counter(active))
        (forward or module)(*example)
    params = sum(p.numel() for p in module.parameters())
    return Complexity(params=params, macs=counter.total, by_submodule=dict(counter.by_submodule))


def _drop_last(names: list[str]) -> None:  # a hook must return None
    names.pop()


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator below autograd; `active` names the modules whose forward is running."""

    def __init__(self, active: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.active = active
        self.total = 0
        self.by_submodule: dict[str, int] = defaultdict(int)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        formula = _COUNTED.get(packet)
        if formula is not None:
            macs = formula(out, *args)
            self.total += macs
            for name in self.active:
                self.by_submodule[name] += macs
        elif packet not in _FREE and not func.is_view:
            raise UsageError(
                f"the MACs of the operator {func} are not known",
                fix="add it to _COUNTED or _FREE in litesam_bench/timing/complexity.py",
            )
        return out


def _matmul(out: Tensor, a: Tensor, b: Tensor, *_: Any) -> int:
    return out.numel() * a.shape[-1]


def _add_matmul(out: Tensor, bias: Tensor, a: Tensor, b: Tensor, *_: Any) -> int:
    return out.numel() * a.shape[-1]


def _convolution(out: Tensor, x: Tensor, weight: Tensor, *args: Any) -> int:
    """Each output of a convolution takes one product per weight of its filter; of a transposed
    one, each input gives one product per weight of its own. Weights are (out, in / groups, ...),
    or (in, out / groups, ...) where transposed."""
    transposed = args[4]
    return (x if transposed else out).numel() * prod(weight.shape[1:])


def _attention(out: Any, q: Tensor, k: Tensor, v: Tensor, *_: Any) -> int:
    """q kᵀ, and the weights times v; (..., queries, dim), (..., keys, dim), (..., keys, dim_v)."""
    pairs = prod(q.shape[:-1]) * k.shape[-2]
    return pairs * (q.shape[-1] + v.shape[-1])


_COUNTED: dict[Any, Callable[..., int]] = {
    aten.mm: _matmul,
    aten.bmm: _matmul,
    aten.addmm: _add_matmul,
    aten.baddbmm: _add_matmul,
    aten.convolution: _convolution,
    aten._scaled_dot_product_flash_attention: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_efficient_attention: _attention,
    aten._scaled_dot_product_cudnn_attention: _attention,
    aten._scaled_dot_product_fused_attention_overrideable: _attention,
}

_FREE = frozenset(
    getattr(aten, name)
    for group in (
        # pooling and resizing
        "avg_pool2d max_pool2d_with_indices adaptive_avg_pool2d _adaptive_avg_pool2d mean",
        "upsample_bilinear2d upsample_nearest2d upsample_bicubic2d grid_sampler_2d constant_pad_nd",
        # normalisation and activation
        "native_layer_norm native_group_norm native_batch_norm cudnn_batch_norm",
        "_native_batch_norm_legit_no_training",
        "gelu relu relu_ silu silu_ sigmoid tanh softplus hardswish hardswish_ hardtanh hardtanh_",
        "_softmax _safe_softmax _log_softmax",
        # elementwise arithmetic and comparison
        "add add_ sub sub_ rsub mul mul_ div div_ neg pow sqrt rsqrt exp log sin cos abs clamp",
        "reciprocal square sgn sign floor round",
        "clamp_min clamp_max maximum minimum addcmul floor_divide remainder where masked_fill",
        "masked_fill_ eq ne lt le gt ge logical_and logical_or logical_not bitwise_and bitwise_or",
        "sum amax amin any all isfinite",
        # creation, copies and indexing
        "empty empty_like zeros zeros_like ones ones_like full full_like new_empty new_zeros",
        "new_full new_ones arange scalar_tensor lift_fresh fill_ zero_ copy_ clone _to_copy",
        "cat stack index index_select gather embedding repeat roll _unsafe_view",
        "topk sort argsort argmax cumsum _local_scalar_dense",
    )
    for name in group.split()
)
