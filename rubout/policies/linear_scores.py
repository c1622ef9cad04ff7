"""Chosen logits and logsumexp of a linear layer, without the logits.

[M, A] logits are the largest tensor in the program (M states, A actions). What a loss needs of them
is two numbers a state, so they are made a chunk of rows at a time, reduced and dropped; the
backward pass makes each chunk again. Peak memory is one chunk, whatever M is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from rubout.types import ActionSpace, Legality

# Elements of one chunk of logits: little memory on a CPU, enough work to fill a GPU.
_CHUNK_ELEMENTS = {"cpu": 2**19, "cuda": 2**27}


def linear_scores(
    hidden_MD: Tensor,
    weight_AD: Tensor,
    bias_A: Tensor,
    actions_M: Tensor,
    space: ActionSpace,
    legality_M: Legality,
) -> tuple[Tensor, Tensor]:
    """The logit of one action and the logsumexp over the legal ones, for each of M states.

    Args:
        hidden_MD: float32 [M, D].
        weight_AD: float32 [A, D].
        bias_A: float32 [A].
        actions_M: int64 [M], the chosen actions.
        space: what the actions mean.
        legality_M: what each state allows.

    Returns:
        chosen_M (-inf where the chosen action is illegal) and logsumexp_M, float32 [M].
    """
    assert hidden_MD.ndim == 2
    assert actions_M.shape == hidden_MD.shape[:1]
    assert weight_AD.shape == (space.size, hidden_MD.shape[1])
    result: tuple[Tensor, Tensor] = _LinearScores.apply(  # type: ignore[no-untyped-call]
        hidden_MD, weight_AD, bias_A, actions_M, space, legality_M
    )
    return result


def _chunks(num_rows: int, num_columns: int, device: torch.device) -> Iterator[slice]:
    rows = max(1, _CHUNK_ELEMENTS.get(device.type, 2**24) // num_columns)
    for first in range(0, num_rows, rows):
        yield slice(first, min(first + rows, num_rows))


class _LinearScores(Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_MD: Tensor,
        weight_AD: Tensor,
        bias_A: Tensor,
        actions_M: Tensor,
        space: ActionSpace,
        legality_M: Legality,
    ) -> tuple[Tensor, Tensor]:
        """See `linear_scores`; keeps the inputs and one logsumexp a state."""
        num_rows = hidden_MD.shape[0]
        chosen_M = hidden_MD.new_empty(num_rows)
        logsumexp_M = hidden_MD.new_empty(num_rows)
        for rows in _chunks(num_rows, space.size, hidden_MD.device):
            logits_MA = torch.addmm(bias_A, hidden_MD[rows], weight_AD.T)
            space.mask_illegal_(logits_MA, legality_M[rows])
            chosen_M[rows] = logits_MA.gather(1, actions_M[rows].unsqueeze(1)).squeeze(1)
            logsumexp_M[rows] = torch.logsumexp(logits_MA, dim=1)
        ctx.save_for_backward(hidden_MD, weight_AD, bias_A, actions_M, logsumexp_M)
        ctx.space, ctx.legality_M = space, legality_M
        return chosen_M, logsumexp_M

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """With p the softmax of a state: d logit_a = p_a d logsumexp + [a = chosen] d chosen."""
        hidden_MD, weight_AD, bias_A, actions_M, logsumexp_M = ctx.saved_tensors
        chosen_grad_M, logsumexp_grad_M = gradients
        hidden_grad_MD = torch.empty_like(hidden_MD)
        weight_grad_AD = torch.zeros_like(weight_AD)
        bias_grad_A = torch.zeros_like(bias_A)
        for rows in _chunks(hidden_MD.shape[0], ctx.space.size, hidden_MD.device):
            grad_MA = torch.addmm(bias_A, hidden_MD[rows], weight_AD.T)
            ctx.space.mask_illegal_(grad_MA, ctx.legality_M[rows])
            grad_MA.sub_(logsumexp_M[rows].unsqueeze(1)).exp_()
            grad_MA.mul_(logsumexp_grad_M[rows].unsqueeze(1))
            grad_MA.scatter_add_(1, actions_M[rows].unsqueeze(1), chosen_grad_M[rows].unsqueeze(1))
            torch.mm(grad_MA, weight_AD, out=hidden_grad_MD[rows])
            weight_grad_AD.addmm_(grad_MA.T, hidden_MD[rows])
            bias_grad_A.add_(grad_MA.sum(0))
        return hidden_grad_MD, weight_grad_AD, bias_grad_A, None, None, None
