"""A linear layer over a large vocabulary, a chunk of its logits at a time.

[M, A] logits are the largest tensor in the program (M states, A actions). They are made a chunk of
rows at a time, few enough to stay in a CPU's cache, reduced and dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from rubout.exponentials import LOG2_E
from rubout.products import product, rows_at_once
from rubout.types import ActionSpace, Legality

# Elements of one chunk of logits: a CPU's cache holds it, a GPU has enough work in it. An update
# with 5 MiB takes 0.94 to 1.00 of the time with 2.5, alone or two of them side by side.
_CHUNK_ELEMENTS = {"cpu": 5 * 2**18, "cuda": 2**27}
_LEAST_ROWS = 128  # of a chunk: each reads the whole matrix, and adds to its whole gradient
# Logits up to here have exponentials whose sums, of a billion of them, are float32 numbers, and so
# are the inverses of these.
_LARGEST = 60.0


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

    def bound(self) -> Tensor:
        """What no logit of one state or more exceeds in size: |h| |w| + |b|, a scalar."""
        hidden = torch.linalg.vector_norm(self.hidden_MD, dim=1).amax()
        weight = torch.linalg.vector_norm(self.weight_AD, dim=1).amax()
        largest: Tensor = hidden * weight + self.bias_A.abs().amax()
        return largest

    def chunks(self) -> Iterator[slice]:
        """The states, some at a time: the same number in every chunk, but for the last."""
        total = len(self.hidden_MD)
        elements = _CHUNK_ELEMENTS.get(self.hidden_MD.device.type, 2**24)
        size = rows_at_once(total, self.space.size, elements=elements, least=_LEAST_ROWS)
        for first in range(0, total, size):
            yield slice(first, min(first + size, total))


class Softmaxes:
    """Exponentials of the logits of M states, a chunk at a time, and their sums over the actions.

    Their quotients are the softmaxes; no pass over [M, A] divides. Logits are made in base two
    (`rubout.exponentials`). Where they may be large, the largest of each state is taken off first,
    which costs half as much again. To know it waits for the device once.

    Attributes:
        sums_M1: float32, of the exponentials, as far as the states were seen.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self._hidden_MD, self._bias_A = head.hidden_MD * LOG2_E, head.bias_A * LOG2_E
        self._tops_M1 = head.hidden_MD.new_zeros(len(head.hidden_MD), 1)
        self._large = len(head.hidden_MD) > 0 and bool(head.bound() > _LARGEST)
        self.sums_M1 = torch.empty_like(self._tops_M1)

    def unmasked(self, rows: slice) -> Tensor:
        """The logits of some of the states in base two, float32 [R, A], of illegal actions too."""
        return product(self._hidden_MD[rows], self._head.weight_AD, self._bias_A)

    def mask_illegal_(self, rows: slice, logits_RA: Tensor) -> Tensor:
        """Those of illegal actions become -inf, in place."""
        return self._head.space.mask_illegal_(logits_RA, self._head.legality_M[rows])

    def exponentials_(self, rows: slice, logits_RA: Tensor) -> Tensor:
        """Those of some of the states, in the place of their logits in base two."""
        if self._large:
            tops_R1 = torch.amax(logits_RA, 1, keepdim=True, out=self._tops_M1[rows])
            logits_RA.sub_(tops_R1)
        logits_RA.exp2_()
        torch.sum(logits_RA, 1, keepdim=True, out=self.sums_M1[rows])
        return logits_RA

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        """All of them, of some states at a time.

        Who lets go of each before the next is asked for has them all in one place of the cache.
        """
        for rows in self._head.chunks():
            # Not held by a name here, for the same reason.
            yield rows, self.exponentials_(rows, self.mask_illegal_(rows, self.unmasked(rows)))

    def logsumexp(self) -> Tensor:
        """Of all logits, float32 [M], once every state was seen."""
        return (self.sums_M1.log2() + self._tops_M1).squeeze(1) / LOG2_E


class Chosen(Softmaxes):
    """The same, and the logit of one action for each state."""

    def __init__(self, head: Head, actions_M: Tensor) -> None:
        super().__init__(head)
        self._actions_M1 = actions_M.unsqueeze(1)
        self._logits_M1 = torch.empty_like(self.sums_M1)

    def exponentials_(self, rows: slice, logits_RA: Tensor) -> Tensor:
        """See `Softmaxes.exponentials_`."""
        torch.gather(logits_RA, 1, self._actions_M1[rows], out=self._logits_M1[rows])
        return super().exponentials_(rows, logits_RA)

    def less_sum_(self, rows: slice, exponentials_RA: Tensor) -> Tensor:
        """That of the chosen action less their sum, in place: its softmax less 1."""
        chosen_R1 = self._actions_M1[rows]
        return exponentials_RA.scatter_add_(1, chosen_R1, -self.sums_M1[rows])

    def logits(self) -> Tensor:
        """Those of the chosen actions, float32 [M], once every state was seen."""
        return self._logits_M1.squeeze(1) / LOG2_E


class Gradients:
    """Those of a linear layer whose output has the gradient p_a u + [a = chosen] v in each state.

    The factors u and v multiply what is small: no elementwise pass over [M, A] is made. The bias
    is the weight of an input that is always 1.
    """

    def __init__(self, hidden_MD: Tensor, weight_AD: Tensor) -> None:
        self._inputs_ME = torch.nn.functional.pad(hidden_MD, (0, 1), value=1.0)
        self._weight_AD, self._hidden_MD = weight_AD, torch.empty_like(hidden_MD)
        self._weight_EA = weight_AD.new_zeros(self._inputs_ME.shape[1], len(weight_AD))

    def add(self, rows: slice, dense_RA: Tensor, factors_R1: Tensor) -> None:
        """The part p of some of the states, float32 [R, A], whatever it is, and their factors u."""
        backwards_RD = product(dense_RA, self._weight_AD.T)
        torch.mul(backwards_RD, factors_R1, out=self._hidden_MD[rows])
        scaled_RE = self._inputs_ME[rows] * factors_R1
        self._weight_EA.add_(product(scaled_RE.T, dense_RA.T))

    def dense(self) -> tuple[Tensor, Tensor, Tensor]:
        """Those of the inputs, the weight and the bias, where v is 0; once, at the end."""
        weight_AE = self._weight_EA.T
        return self._hidden_MD, weight_AE[:, :-1], weight_AE[:, -1]

    def with_chosen(self, actions_M: Tensor, factors_M: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same with the part of the chosen actions; once, at the end."""
        factors_M1 = factors_M.unsqueeze(1)
        hidden_MD = self._hidden_MD.addcmul_(self._weight_AD[actions_M], factors_M1)
        weight_AE = self._weight_EA.T.contiguous()
        weight_AE.index_add_(0, actions_M, self._inputs_ME * factors_M1)
        return hidden_MD, weight_AE[:, :-1], weight_AE[:, -1]
