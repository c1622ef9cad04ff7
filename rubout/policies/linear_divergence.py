"""How far apart two policies are in each state, without the logits of either.

Both linear layers' logits are made a chunk of states at a time, and the gradient of a weighted sum
is known as soon as a chunk is: nothing is made twice. With z and y the logits, p and q their
softmaxes, d = z - y and e = sum_a p_a d_a:

    KL(p || q) = e - logsumexp z + logsumexp y,    d KL / d z_a = p_a (d_a - e)

so that neither logarithms nor exponentials are needed but those of the softmaxes. Differences d are
taken of all logits, before those of illegal actions become -inf: there p = 0 makes them count for
nothing, as it does where p is too small for its dtype.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from rubout.policies.linear_chunks import Chosen, Gradients, Head


def linear_divergence(
    own: Head, other: Head, actions_M: Tensor, weights_M: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The weighted sum of KL(own || other) over the legal actions of each of M states.

    Its gradients are taken in the forward pass, a chunk at a time.

    Args:
        own: of M states; the result is differentiable in its hidden states, weight and bias.
        other: of the same states and actions and the same dtype, of any width; a constant.
        actions_M: int64 [M], one action for each state.
        weights_M: [M], constants.

    Returns:
        the sum, a scalar; kl_M; and log_probs_M, the logarithm of what `own` gives the actions
        (-inf where they are illegal): float32 [M], constants.
    """
    own.check(actions_M)
    other.check(actions_M)
    assert own.space == other.space
    assert own.hidden_MD.dtype is other.hidden_MD.dtype
    assert weights_M.shape == actions_M.shape
    assert not weights_M.requires_grad
    weights_M = weights_M.to(own.hidden_MD.dtype)
    kl_M, log_probs_M = torch.empty_like(weights_M), torch.empty_like(weights_M)
    total: Tensor = _LinearDivergence.apply(  # type: ignore[no-untyped-call]
        *own, other, actions_M, weights_M, kl_M, log_probs_M
    )
    return total, kl_M, log_probs_M


class _LinearDivergence(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """See `linear_divergence`; writes `kl_M` and `log_probs_M`, keeps the gradients."""
        *layer, other, actions_M, weights_M, kl_M, log_probs_M = inputs
        own = Head(*layer)
        wanted = any(ctx.needs_input_grad)
        found = Gradients(own.hidden_MD, own.weight_AD, weights_M) if wanted else None
        chosen, of_other = Chosen(own, actions_M), Chosen(other, actions_M)
        for rows in own.chunks():
            own_RA, other_RA = own.unmasked(rows), other.unmasked(rows)
            apart_RA = own_RA - other_RA
            probs_RA = chosen.softmax_(rows, own.mask_illegal_(rows, own_RA))
            other_RA = of_other.softmax_(rows, other.mask_illegal_(rows, other_RA))
            apart_RA.mul_(probs_RA)
            mean_R1 = apart_RA.sum(1, keepdim=True)
            kl_M[rows] = mean_R1.squeeze(1)
            if found is not None:
                found.add(rows, torch.addcmul(apart_RA, probs_RA, mean_R1, value=-1, out=apart_RA))
        logsumexp_M = chosen.logsumexp()
        kl_M.sub_(logsumexp_M).add_(of_other.logsumexp())
        torch.sub(chosen.logits_M, logsumexp_M, out=log_probs_M)
        if found is not None:
            ctx.save_for_backward(*found.dense())
        total: Tensor = (weights_M * kl_M).sum()
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients are there: the chain rule multiplies them by one number."""
        (factor,) = gradients
        found = [gradient * factor for gradient in ctx.saved_tensors]
        return *found, None, None, None, None, None, None, None
