"""A linear layer over a large vocabulary, a chunk of its logits at a time.

[M, A] logits are the largest tensor in the program (M states, A actions). They are made a chunk of
rows at a time, few enough to stay in a CPU's cache, reduced and dropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from rubout.products import product
from rubout.types import ActionSpace, Legality

# Elements of one chunk of logits: a CPU's cache holds it, a GPU has enough work in it.
_CHUNK_ELEMENTS = {"cpu": 2**19, "cuda": 2**27}
_LEAST_ROWS = 128  # of a chunk: each reads the whole matrix, and adds to its whole gradient
# Of a state's chosen action: above it, the logarithm of its probability is exact to rounding.
_LEAST_PROBABILITY = 2.0**-100


class Head(NamedTuple):
    """M states and the layer that gives their logits.

    Attributes:
        hidden_MD: float32 [M, D].
        weight_AD: float32 [A, D].
        bias_A: float32 [A].
        space: what the actions mean.
        legality_M: what each state allows.
    """

    hidden_MD: Tensor
    weight_AD: Tensor
    bias_A: Tensor
    space: ActionSpace
    legality_M: Legality

    def check(self, actions_M: Tensor) -> None:
        """Whether the shapes fit each other, and one action for each state."""
        assert self.hidden_MD.ndim == 2
        assert actions_M.shape == self.hidden_MD.shape[:1]
        assert self.weight_AD.shape == (self.space.size, self.hidden_MD.shape[1])

    def chunks(self) -> Iterator[slice]:
        """The states, some at a time: the same number in every chunk, but for the last."""
        total, elements = len(self.hidden_MD), _CHUNK_ELEMENTS.get(self.hidden_MD.device.type)
        rows = max(_LEAST_ROWS, (elements or 2**24) // self.space.size)
        size = max(1, math.ceil(total / max(1, round(total / rows))))
        for first in range(0, total, size):
            yield slice(first, min(first + size, total))

    def unmasked(self, rows: slice) -> Tensor:
        """The logits of some of the states, float32 [R, A], of illegal actions too."""
        return product(self.hidden_MD[rows], self.weight_AD, self.bias_A)

    def mask_illegal_(self, rows: slice, logits_RA: Tensor) -> Tensor:
        """Those of illegal actions become -inf, in place."""
        return self.space.mask_illegal_(logits_RA, self.legality_M[rows])

    def logits(self) -> Iterator[tuple[slice, Tensor]]:
        """Those of some states at a time, -inf where an action is illegal."""
        for rows in self.chunks():
            yield rows, self.mask_illegal_(rows, self.unmasked(rows))

    def softmaxes(self) -> Iterator[tuple[slice, Tensor]]:
        """The probabilities of all actions, of some states at a time."""
        for rows, logits_MA in self.logits():
            yield rows, torch.softmax(logits_MA, dim=1, out=logits_MA)

    def at(self, rows_R: Tensor) -> Head:
        """Some of the states, by number: int64 [R]."""
        return self._replace(hidden_MD=self.hidden_MD[rows_R], legality_M=self.legality_M[rows_R])


class Chosen:
    """The logit and the probability of one action for each of M states, a chunk at a time.

    On a CPU torch's softmax takes less time than its logsumexp, or than its exponential alone: the
    logsumexp is then read off one logit and its probability, where that is not too small.

    Attributes:
        logits_M: float32, of the chosen actions, as far as the states were seen.
    """

    def __init__(self, head: Head, actions_M: Tensor) -> None:
        self._head, self._actions_M1 = head, actions_M.unsqueeze(1)
        self._logits_M1 = head.hidden_MD.new_empty(len(actions_M), 1)
        self._probs_M1 = torch.empty_like(self._logits_M1)
        self.logits_M = self._logits_M1.squeeze(1)

    def softmax_(self, rows: slice, logits_RA: Tensor) -> Tensor:
        """The probabilities of some of the states, in the place of their logits."""
        chosen_R1 = self._actions_M1[rows]
        torch.gather(logits_RA, 1, chosen_R1, out=self._logits_M1[rows])
        probs_RA = torch.softmax(logits_RA, dim=1, out=logits_RA)
        torch.gather(probs_RA, 1, chosen_R1, out=self._probs_M1[rows])
        return probs_RA

    def less_one_(self, rows: slice, probs_RA: Tensor) -> Tensor:
        """What `softmax_` gave, less 1 at the chosen action, in place."""
        return probs_RA.scatter_(1, self._actions_M1[rows], self._probs_M1[rows] - 1)

    def logsumexp(self) -> Tensor:
        """Of all logits, float32 [M], once every state was seen."""
        probs_M = self._probs_M1.squeeze(1)
        logsumexp_M: Tensor = self.logits_M - probs_M.log()
        rare_R = (probs_M < _LEAST_PROBABILITY).nonzero().squeeze(1)
        if len(rare_R):
            again = [logits_RA.logsumexp(1) for _, logits_RA in self._head.at(rare_R).logits()]
            logsumexp_M[rare_R] = torch.cat(again)
        return logsumexp_M


class Gradients:
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

    def add(self, rows: slice, dense_RA: Tensor) -> None:
        """The part p of some of the states, float32 [R, A]: softmaxes, or whatever it is."""
        self._hidden_MD[rows] = product(dense_RA, self._weight_AD.T)
        self._weight_EA.add_(product(self._scaled_ME[rows].T, dense_RA.T))

    def dense(self) -> tuple[Tensor, Tensor, Tensor]:
        """Those of the inputs, the weight and the bias, where v is 0; once, at the end."""
        hidden_MD, weight_AE = self._hidden_MD.mul_(self._factors_M1), self._weight_EA.T
        return hidden_MD, weight_AE[:, :-1], weight_AE[:, -1]

    def with_chosen(self, actions_M: Tensor, factors_M: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same with the part of the chosen actions; once, at the end."""
        factors_M1 = factors_M.unsqueeze(1)
        chosen_MD = self._weight_AD[actions_M]
        hidden_MD = self._hidden_MD.mul_(self._factors_M1).addcmul_(chosen_MD, factors_M1)
        weight_AE = self._weight_EA.T.contiguous()
        weight_AE.index_add_(0, actions_M, self._inputs_ME * factors_M1)
        return hidden_MD, weight_AE[:, :-1], weight_AE[:, -1]
