"""Matrix products at the speed of the processor.

torch's own float32 products on a CPU are MKL's, which runs AVX2 code on processors of other makers
than Intel even where they have AVX-512: half their speed. oneDNN, which torch carries for
recurrences and convolutions, has no such preference. `product` goes through it where it is there;
what it computes is the same float32 product, to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

_HAS_ONEDNN = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def product(left_MK: Tensor, right_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """Every row of one matrix times every row of another; it carries no gradient.

    Args:
        left_MK: float [M, K], of any strides.
        right_NK: the same dtype, [N, K], of any strides; or what `prepacked` made of it. Where
            `Packs` are used, a parameter is read from them.
        bias_N: added to every row, or None.

    Returns:
        [M, N].
    """
    assert not (torch.is_grad_enabled() and (left_MK.requires_grad or right_NK.requires_grad))
    if isinstance(right_NK, nn.Parameter) and (packs := _used.get()):
        right_NK = packs.of(right_NK)
    if not (right_NK.is_mkldnn or (_is_ours(left_MK) and _is_ours(right_NK) and left_MK.numel())):
        return functional.linear(left_MK, right_NK, bias_N)
    if len(left_MK) == 1:  # a row alone is summed in another order than one among many
        return product(left_MK.expand(2, -1), right_NK, bias_N)[:1]
    # Matrices whose neighbours lie apart along both dimensions take it a thousand times as long.
    left, right = (
        each if each.is_mkldnn or 1 in each.stride() else each.contiguous()
        for each in (left_MK, right_NK)
    )
    found: Tensor = torch.ops.mkldnn._linear_pointwise.default(left, right, bias_N, "none", [], "")
    return found


def prepacked(right_NK: Tensor) -> Tensor:
    """The right matrix of many products, in the order in which oneDNN reads it.

    oneDNN else brings it into that order at every product, which takes a twentieth to a quarter of
    one of 64 rows or more, up to two fifths of one of 16. The products are the same, bit for bit.

    Args:
        right_NK: float [N, K], of any strides.

    Returns:
        a copy, for `product` alone; or the matrix itself, where it is not oneDNN's to multiply.
    """
    if not (_is_ours(right_NK) and right_NK.numel()):
        return right_NK.detach()
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight.default(right_NK.detach())
    return packed


class Packs:
    """Parameters as they were when first multiplied by, `prepacked`.

    For who multiplies by the same ones again and again while nothing changes them.
    """

    def __init__(self) -> None:
        self._packed: dict[Tensor, Tensor] = {}

    def of(self, right_NK: Tensor) -> Tensor:
        """What `prepacked` makes of a parameter [N, K], made once."""
        if right_NK not in self._packed:
            self._packed[right_NK] = prepacked(right_NK)
        return self._packed[right_NK]

    @contextmanager
    def used(self) -> Iterator[None]:
        """Within this context, in this thread, a `product` by a parameter is by the packed one."""
        before = _used.set(self)
        try:
            yield
        finally:
            _used.reset(before)


_used: ContextVar[Packs | None] = ContextVar("packs", default=None)


def rows_at_once(rows: int, columns: int, *, elements: int, least: int) -> int:
    """How many rows of a matrix to make at a time: the same number, but for the last.

    Args:
        rows: of the whole.
        columns: of the whole.
        elements: about so many at a time.
        least: rows at a time.
    """
    wanted = max(least, elements // columns)
    return max(1, math.ceil(rows / max(1, round(rows / wanted))))


def _is_ours(matrix: Tensor) -> bool:
    """Whether oneDNN is to multiply it."""
    return _HAS_ONEDNN and matrix.dtype is torch.float32 and matrix.device.type == "cpu"


def linear(inputs_MK: Tensor, weight_NK: Tensor, bias_N: Tensor | None = None) -> Tensor:
    """What torch's `functional.linear` is, gradients too, by `product`.

    Args:
        inputs_MK: float [..., K].
        weight_NK: [N, K].
        bias_N: [N], or None.

    Returns:
        [..., N].
    """
    if inputs_MK.device.type != "cpu":
        return functional.linear(inputs_MK, weight_NK, bias_N)
    flat_MK = inputs_MK.flatten(0, -2)
    if torch.is_grad_enabled():
        result: Tensor = _Linear.apply(flat_MK, weight_NK, bias_N)  # type: ignore[no-untyped-call]
    else:
        result = product(flat_MK, weight_NK, bias_N)
    return result.view(*inputs_MK.shape[:-1], weight_NK.shape[0])


class Linear(nn.Linear):
    """A linear layer by `linear`: torch's own, with its names and its initialisation."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """See `torch.nn.Linear`."""
        return linear(input, self.weight, self.bias)


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, inputs_MK: Tensor, weight_NK: Tensor, bias_N: Tensor | None) -> Tensor:
        """See `linear`."""
        ctx.save_for_backward(inputs_MK, weight_NK)
        return product(inputs_MK, weight_NK, bias_N)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Two products, each only where it is asked for."""
        inputs_MK, weight_NK = ctx.saved_tensors
        (output_MN,) = gradients
        inputs, weight, bias = ctx.needs_input_grad
        return (
            product(output_MN, weight_NK.T) if inputs else None,
            product(output_MN.T, inputs_MK.T) if weight else None,
            output_MN.sum(0) if bias else None,
        )
