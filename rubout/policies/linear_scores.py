"""What losses need of a linear layer over a large vocabulary, without its logits.

[M, A] logits are the largest tensor in the program (M states, A actions). They are made a chunk of
rows at a time, few enough to stay in a CPU's cache, reduced and dropped. `linear_scores` gives two
numbers a state, from which any loss can be made; its backward pass makes each chunk again, and
peak memory is one chunk, whatever M is. `linear_likelihood` gives a weighted sum of
log-probabilities, whose gradient is known as soon as a chunk is: nothing is made twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from rubout.products import product
from rubout.types import ActionSpace, Legality

# Elements of one chunk of logits: a CPU's cache holds it, a GPU has enough work in it.
_CHUNK_ELEMENTS = {"cpu": 2**20, "cuda": 2**27}
_LEAST_ROWS = 128  # of a chunk: each reads the whole matrix, and adds to its whole gradient
# Of a state's chosen action: above it, the logarithm of its probability is exact to rounding.
_LEAST_PROBABILITY = 2.0**-100


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
    _check(hidden_MD, weight_AD, actions_M, space)
    result: tuple[Tensor, Tensor] = _LinearScores.apply(  # type: ignore[no-untyped-call]
        hidden_MD, weight_AD, bias_A, actions_M, space, legality_M
    )
    return result


def linear_likelihood(
    hidden_MD: Tensor,
    weight_AD: Tensor,
    bias_A: Tensor,
    actions_M: Tensor,
    weights_M: Tensor,
    space: ActionSpace,
    legality_M: Legality,
) -> tuple[Tensor, Tensor]:
    """The weighted sum of the log-probabilities of one action for each of M states.

    Its gradients are taken in the forward pass, a chunk at a time: with p the softmax of a state
    and w its weight, d / d logit_a = w ([a = chosen] - p_a).

    Args:
        hidden_MD: float32 [M, D].
        weight_AD: float32 [A, D].
        bias_A: float32 [A].
        actions_M: int64 [M], the chosen actions.
        weights_M: [M], constants.
        space: what the actions mean.
        legality_M: what each state allows.

    Returns:
        the sum, a scalar; and log_probs_M, float32 [M], constants (-inf where the chosen action is
        illegal, which makes the sum -inf or nan).
    """
    _check(hidden_MD, weight_AD, actions_M, space)
    assert weights_M.shape == actions_M.shape
    assert not weights_M.requires_grad
    weights_M = weights_M.to(hidden_MD.dtype)
    log_probs_M = torch.empty_like(weights_M)
    total: Tensor = _LinearLikelihood.apply(  # type: ignore[no-untyped-call]
        hidden_MD, weight_AD, bias_A, actions_M, weights_M, space, legality_M, log_probs_M
    )
    return total, log_probs_M


def _check(hidden_MD: Tensor, weight_AD: Tensor, actions_M: Tensor, space: ActionSpace) -> None:
    assert hidden_MD.ndim == 2
    assert actions_M.shape == hidden_MD.shape[:1]
    assert weight_AD.shape == (space.size, hidden_MD.shape[1])


class _Head(NamedTuple):
    """M states and the layer that gives their logits."""

    hidden_MD: Tensor
    weight_AD: Tensor
    bias_A: Tensor
    space: ActionSpace
    legality_M: Legality

    def logits(self) -> Iterator[tuple[slice, Tensor]]:
        """Those of some states at a time, -inf where an action is illegal."""
        hidden_MD, weight_AD, bias_A, space, legality_M = self
        size = max(_LEAST_ROWS, _CHUNK_ELEMENTS.get(hidden_MD.device.type, 2**24) // space.size)
        for first in range(0, len(hidden_MD), size):
            rows = slice(first, min(first + size, len(hidden_MD)))
            logits_MA = product(hidden_MD[rows], weight_AD, bias_A)
            yield rows, space.mask_illegal_(logits_MA, legality_M[rows])

    def at(self, rows_R: Tensor) -> _Head:
        """Some of the states."""
        return self._replace(hidden_MD=self.hidden_MD[rows_R], legality_M=self.legality_M[rows_R])


class _Chosen:
    """The logit and the probability of one action for each of M states, a chunk at a time.

    On a CPU torch's softmax takes less time than its logsumexp, or than its exponential alone: the
    logsumexp is then read off one logit and its probability, where that is not too small.
    """

    def __init__(self, head: _Head, actions_M: Tensor) -> None:
        self._head, self._actions_M1 = head, actions_M.unsqueeze(1)
        self.logits_M, self._probs_M = head.hidden_MD.new_empty(2, len(actions_M))

    def softmax_(self, rows: slice, logits_MA: Tensor) -> Tensor:
        """The probabilities of some of the states, in the place of their logits."""
        chosen_M1 = self._actions_M1[rows]
        self.logits_M[rows] = logits_MA.gather(1, chosen_M1).squeeze(1)
        probs_MA = torch.softmax(logits_MA, dim=1, out=logits_MA)
        self._probs_M[rows] = probs_MA.gather(1, chosen_M1).squeeze(1)
        return probs_MA

    def logsumexp(self) -> Tensor:
        """Of all logits, [M], once every state was seen."""
        logsumexp_M: Tensor = self.logits_M - self._probs_M.log()
        rare_R = (self._probs_M < _LEAST_PROBABILITY).nonzero().squeeze(1)
        if len(rare_R):
            again = [logits_MA.logsumexp(1) for _, logits_MA in self._head.at(rare_R).logits()]
            logsumexp_M[rare_R] = torch.cat(again)
        return logsumexp_M


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
        """See `linear_scores`; keeps the inputs alone."""
        head = _Head(hidden_MD, weight_AD, bias_A, space, legality_M)
        chosen = _Chosen(head, actions_M)
        for rows, logits_MA in head.logits():
            chosen.softmax_(rows, logits_MA)
        ctx.save_for_backward(hidden_MD, weight_AD, bias_A, actions_M)
        ctx.space, ctx.legality_M = space, legality_M
        return chosen.logits_M, chosen.logsumexp()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """With p the softmax of a state: d logit_a = p_a d logsumexp + [a = chosen] d chosen."""
        hidden_MD, weight_AD, bias_A, actions_M = ctx.saved_tensors
        chosen_grad_M, logsumexp_grad_M = gradients
        found = _Gradients(hidden_MD, weight_AD, logsumexp_grad_M)
        head = _Head(hidden_MD, weight_AD, bias_A, ctx.space, ctx.legality_M)
        for rows, logits_MA in head.logits():
            found.add(rows, torch.softmax(logits_MA, dim=1, out=logits_MA))
        return *found.with_chosen(actions_M, chosen_grad_M), None, None, None


class _LinearLikelihood(Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_MD: Tensor,
        weight_AD: Tensor,
        bias_A: Tensor,
        actions_M: Tensor,
        weights_M: Tensor,
        space: ActionSpace,
        legality_M: Legality,
        log_probs_M: Tensor,
    ) -> Tensor:
        """See `linear_likelihood`; writes `log_probs_M`, keeps the gradients."""
        wanted = any(ctx.needs_input_grad)
        found = _Gradients(hidden_MD, weight_AD, -weights_M) if wanted else None
        head = _Head(hidden_MD, weight_AD, bias_A, space, legality_M)
        chosen = _Chosen(head, actions_M)
        for rows, logits_MA in head.logits():
            probs_MA = chosen.softmax_(rows, logits_MA)
            if found is not None:
                found.add(rows, probs_MA)
        torch.sub(chosen.logits_M, chosen.logsumexp(), out=log_probs_M)
        if found is not None:
            ctx.save_for_backward(*found.with_chosen(actions_M, weights_M))
        return (weights_M * log_probs_M).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients are there: the chain rule multiplies them by one number."""
        (factor,) = gradients
        found = [gradient * factor for gradient in ctx.saved_tensors]
        return *found, None, None, None, None, None


class _Gradients:
    """Those of a linear layer whose output has the gradient p_a u + [a = chosen] v in each state.

    The factors u and v multiply what is small: no elementwise pass over [M, A] is made. The bias
    is the weight of an input that is always 1.
    """

    def __init__(self, hidden_MD: Tensor, weight_AD: Tensor, factors_M: Tensor) -> None:
        self._inputs_ME = torch.nn.functional.pad(hidden_MD, (0, 1), value=1.0)
        self._weight_AD, self._factors_M1 = weight_AD, factors_M.unsqueeze(1)
        self._scaled_ME = self._inputs_ME * self._factors_M1
        self._hidden_MD = torch.empty_like(hidden_MD)
        self._weight_EA = weight_AD.new_zeros(self._inputs_ME.shape[1], len(weight_AD))

    def add(self, rows: slice, probs_MA: Tensor) -> None:
        """The part of the softmax, in some of the states."""
        self._hidden_MD[rows] = product(probs_MA, self._weight_AD.T)
        self._weight_EA.add_(product(self._scaled_ME[rows].T, probs_MA.T))

    def with_chosen(self, actions_M: Tensor, factors_M: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Those of the inputs, the weight and the bias, with the part of the chosen actions."""
        factors_M1 = factors_M.unsqueeze(1)
        chosen_MD = self._weight_AD[actions_M]
        hidden_MD = self._hidden_MD.mul_(self._factors_M1).addcmul_(chosen_MD, factors_M1)
        weight_AE = self._weight_EA.T.contiguous()
        weight_AE.index_add_(0, actions_M, self._inputs_ME * factors_M1)
        return hidden_MD, weight_AE[:, :-1], weight_AE[:, -1]
