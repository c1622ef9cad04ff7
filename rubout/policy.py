"""The contract of a policy: a model that types, and can score what was typed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from rubout.keys import Keys
from rubout.types import ActionSpace, Sequences, Trajectories

Want = Literal["log_probs", "values", "log_softmax"]


@dataclass(frozen=True, slots=True)
class Scores:
    """What a policy says of whole action logs; a field that was not asked for is None.

    Attributes:
        log_probs_BT: float32, log pi(label | state), the label being the action that was meant;
            0 on padding.
        values_BS: float32, V(s) = logsumexp of the logits over exactly the legal actions, for every
            state and the final one; 0 on padding. After `<eos>` only `<eos>` is legal, so the final
            value is its logit there (`rubout.tape.with_ends`). On a full tape without `<eos>`
            nothing is left to decide: what stands there is that of no state.
        log_softmax_BTA: float32, log pi(. | state), -inf where illegal; 0 on padding.
    """

    log_probs_BT: Tensor | None = None
    values_BS: Tensor | None = None
    log_softmax_BTA: Tensor | None = None


class Generation(ABC):
    """B sequences being typed by a policy: what `Policy.start` returns.

    A backspace returns to the state of the token before and costs no forward pass.
    """

    @abstractmethod
    def logits(self, rows_M: Tensor | None = None) -> Tensor:
        """The logits of the present states, illegal actions not masked.

        Args:
            rows_M: int64 [M], which rows; None: all.

        Returns:
            float32 [M, A]: the caller's own, made at each call.
        """

    def scaled_logits(self, rows_M: Tensor, size: int, factor: float) -> Iterator[Tensor]:
        """The logits of some rows times a number, so many rows at a time.

        A policy that can have the product for less than a pass over all logits may do so.

        Args:
            rows_M: int64 [M], which rows.
            size: how many at a time, the last ones fewer.
            factor: the number.

        Returns:
            float32 [size or fewer, A] each: the caller's own.
        """
        return (self.logits(part).mul_(factor) for part in torch.split(rows_M, size))

    @abstractmethod
    def step(self, actions_B: Tensor, keys: Keys) -> None:
        """Follow one key on each tape.

        Args:
            actions_B: int64 [B], the keys pressed.
            keys: what they did. Rows in which nothing was typed or rubbed out stay as they are.
        """

    @abstractmethod
    def take(self, rows_M: Tensor) -> Self:
        """A generation of its own that goes on where some of the rows stand.

        Args:
            rows_M: int64 [M], which rows; one may be there many times.
        """

    @abstractmethod
    def join(self, others: Sequence[Self]) -> Self:
        """One generation of this one's rows and then the others', all of the same policy."""


class Policy(nn.Module, ABC):
    """A policy over the actions of a space.

    Generation and scoring agree to rounding for every action log: `rubout.checks.check_policy`
    holds any policy to it. The class carries its options in `Config`, a frozen dataclass, and is
    built as `PolicyClass(space, config)`.
    """

    Config: ClassVar[type]
    space: ActionSpace

    @abstractmethod
    def score(
        self, trajectories: Trajectories, want: Collection[Want], temperature: float = 1.0
    ) -> Scores:
        """Score whole action logs in one pass, backspaces included.

        Args:
            trajectories: the logs.
            want: what is computed; nothing else is materialised. [B, T, A] is the largest tensor
                in the program and exists only for `log_softmax`.
            temperature: divides the logits.

        Returns:
            the scores asked for, differentiable in the parameters.
        """

    def weighted_log_likelihood(
        self, trajectories: Trajectories, weights_BT: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The sum over all actions of weight times log-probability, which most losses are made of.

        A policy that knows the weights beforehand can take its gradients at once, instead of
        making the logits a second time in the backward pass.

        Args:
            trajectories: the logs.
            weights_BT: float32 [B, T], constants, finite also on padding.

        Returns:
            the sum, a scalar, differentiable in the parameters; and log_probs_BT as `score` gives
            them, but constants.
        """
        log_probs_BT = self.score(trajectories, {"log_probs"}).log_probs_BT
        assert log_probs_BT is not None
        return (weights_BT * log_probs_BT).sum(), log_probs_BT.detach()

    def weighted_divergence(
        self, other: Policy, trajectories: Trajectories, weights_BT: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The sum over all states acted in of weight times KL( pi(. | s) || other(. | s) ).

        A policy that knows how the other makes its logits can take its gradients at once, without
        [B, T, A] of either.

        Args:
            other: a constant; of the same actions.
            trajectories: the logs.
            weights_BT: float32 [B, T], constants, finite also on padding.

        Returns:
            the sum, a scalar, differentiable in this policy's parameters; kl_BT, float32 [B, T],
            and log_probs_BT as `score` gives them, both constants and 0 on padding.
        """
        own_BTA = self.score(trajectories, {"log_softmax"}).log_softmax_BTA
        with torch.no_grad():
            other_BTA = other.score(trajectories, {"log_softmax"}).log_softmax_BTA
        assert own_BTA is not None
        assert other_BTA is not None
        assert own_BTA.shape == other_BTA.shape
        illegal_BTA = own_BTA.detach().isinf()
        legal_BTA = own_BTA.masked_fill(illegal_BTA, 0.0)
        ratio_BTA = legal_BTA - other_BTA.masked_fill(illegal_BTA, 0.0)
        kl_BT = (legal_BTA.exp() * ratio_BTA).sum(2)
        labels_BT1 = trajectories.labels_BT.unsqueeze(2)
        log_probs_BT = own_BTA.detach().gather(2, labels_BT1).squeeze(2)
        return (weights_BT * kl_BT).sum(), kl_BT.detach(), log_probs_BT

    @abstractmethod
    def start(self, batch_size: int, prompts: Sequences | None = None) -> Generation:
        """Begin to type `batch_size` sequences after their prompts."""
