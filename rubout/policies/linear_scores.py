"""What losses need of a linear layer over a large vocabulary, without its logits.

These are made a chunk of states at a time (`rubout.policies.linear_chunks`). `linear_scores` gives
two numbers a state, from which any loss can be made; its backward pass makes each chunk again
unless they are few, and peak memory is a constant, whatever M is. `linear_likelihood` gives a
weighted sum of log-probabilities, whose gradient is known as soon as a chunk is: nothing is made
twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from rubout.policies.linear_chunks import Chosen, Gradients, Head, Softmaxes

# Exponentials, of all states together, that may wait for the backward pass.
_KEPT_ELEMENTS = {"cpu": 2**23, "cuda": 2**28}


def linear_scores(head: Head, actions_M: Tensor) -> tuple[Tensor, Tensor]:
    """The logit of one action and the logsumexp over the legal ones, for each of M states.

    Args:
        head: of M states; the results are differentiable in its hidden states, weight and bias.
        actions_M: int64 [M], the chosen actions.

    Returns:
        chosen_M (-inf where the chosen action is illegal) and logsumexp_M, float32 [M].
    """
    head.check(actions_M)
    result: tuple[Tensor, Tensor] = _LinearScores.apply(  # type: ignore[no-untyped-call]
        *head, actions_M
    )
    return result


def linear_likelihood(head: Head, actions_M: Tensor, weights_M: Tensor) -> tuple[Tensor, Tensor]:
    """The weighted sum of the log-probabilities of one action for each of M states.

    Its gradients are taken in the forward pass, a chunk at a time: with p the softmax of a state
    and w its weight, d / d logit_a = w ([a = chosen] - p_a).

    Args:
        head: of M states; the sum is differentiable in its hidden states, weight and bias.
        actions_M: int64 [M], the chosen actions.
        weights_M: [M], constants.

    Returns:
        the sum, a scalar; and log_probs_M, float32 [M], constants (-inf where the chosen action is
        illegal, which makes the sum -inf or nan).
    """
    head.check(actions_M)
    assert weights_M.shape == actions_M.shape
    assert not weights_M.requires_grad
    weights_M = weights_M.to(head.hidden_MD.dtype)
    log_probs_M = torch.empty_like(weights_M)
    total: Tensor = _LinearLikelihood.apply(  # type: ignore[no-untyped-call]
        *head, actions_M, weights_M, log_probs_M
    )
    return total, log_probs_M


class _LinearScores(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        """See `linear_scores`; keeps the inputs, and the exponentials where they are few."""
        *layer, actions_M = inputs
        head = Head(*layer)
        chosen = Chosen(head, actions_M)
        budget = _KEPT_ELEMENTS.get(actions_M.device.type, 2**24)
        keeps = any(ctx.needs_input_grad) and len(actions_M) * head.space.size <= budget
        ctx.kept = []
        for chunk in chosen:
            if keeps:
                ctx.kept.append(chunk)
            del chunk  # the next takes its place
        ctx.save_for_backward(*head[:3], actions_M, chosen.sums_M1)
        ctx.rules = head[3:]
        return chosen.logits(), chosen.logsumexp()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """With p the softmax of a state: d logit_a = p_a d logsumexp + [a = chosen] d chosen."""
        *layer, actions_M, sums_M1 = ctx.saved_tensors
        head = Head(*layer, *ctx.rules)
        chosen_grad_M, logsumexp_grad_M = gradients
        factors_M1 = logsumexp_grad_M.unsqueeze(1) / sums_M1
        found = Gradients(head.hidden_MD, head.weight_AD)
        for rows, exponentials_RA in ctx.kept or Softmaxes(head):
            found.add(rows, exponentials_RA, factors_M1[rows])
            del exponentials_RA  # the next take its place
        return *found.with_chosen(actions_M, chosen_grad_M), None, None, None


class _LinearLikelihood(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        """See `linear_likelihood`; writes `log_probs_M`, keeps the gradients."""
        *layer, actions_M, weights_M, log_probs_M = inputs
        head = Head(*layer)
        wanted = any(ctx.needs_input_grad)
        found = Gradients(head.hidden_MD, head.weight_AD) if wanted else None
        chosen, factors_M1 = Chosen(head, actions_M), -weights_M.unsqueeze(1)
        for rows, exponentials_RA in chosen:
            if found is not None:
                factors_R1 = factors_M1[rows] / chosen.sums_M1[rows]
                found.add(rows, chosen.less_sum_(rows, exponentials_RA), factors_R1)
            del exponentials_RA  # the next take its place
        torch.sub(chosen.logits(), chosen.logsumexp(), out=log_probs_M)
        if found is not None:
            ctx.save_for_backward(*found.dense())
        total: Tensor = (weights_M * log_probs_M).sum()
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients are there: the chain rule multiplies them by one number."""
        (factor,) = gradients
        found = [gradient * factor for gradient in ctx.saved_tensors]
        return *found, None, None, None, None, None
