"""How far apart two policies are in each state, without the logits of either.

Both linear layers' logits are made a chunk of states at a time, and the gradient of a weighted sum
is known as soon as a chunk is: nothing is made twice. With z and y the logits, p and q their
softmaxes, d = z - y and e = sum_a p_a d_a:

    KL(p || q) = e - logsumexp z + logsumexp y,    d KL / d z_a = p_a (d_a - e)

so that neither logarithms nor exponentials are needed but those of the softmaxes, here in base two.
Differences d are taken of all logits, before those of illegal actions become -inf: there p = 0
makes them count for nothing, as it does where p is too small for its dtype.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from rubout.exponentials import LOG2_E
from rubout.policies.linear_chunks import Chosen, Gradients, Head, Softmaxes


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
        found = Gradients(own.hidden_MD, own.weight_AD) if wanted else None
        chosen, constant = Chosen(own, actions_M), Softmaxes(other)
        for rows in own.chunks():
            own_RA, other_RA = chosen.unmasked(rows), constant.unmasked(rows)
            apart_RA = own_RA - other_RA
            own_RA = chosen.exponentials_(rows, chosen.mask_illegal_(rows, own_RA))
            constant.exponentials_(rows, constant.mask_illegal_(rows, other_RA))
            sums_R1 = chosen.sums_M1[rows]
            mean_R1 = apart_RA.mul_(own_RA).sum(1, keepdim=True) / sums_R1
            kl_M[rows] = mean_R1.squeeze(1) / LOG2_E
            if found is not None:
                apart_RA.addcmul_(own_RA, mean_R1, value=-1)
                found.add(rows, apart_RA, weights_M[rows].unsqueeze(1) / (LOG2_E * sums_R1))
            del own_RA, other_RA, apart_RA  # the next take their places
        logsumexp_M = chosen.logsumexp()
        kl_M.sub_(logsumexp_M).add_(constant.logsumexp())
        torch.sub(chosen.logits(), logsumexp_M, out=log_probs_M)
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
