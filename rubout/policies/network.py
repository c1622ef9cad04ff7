"""What every policy of ours shares: a network over the nodes of a tape, and a linear head.

A network says how a node follows from its ancestors, twice: `encode` for all nodes of whole logs at
once, `extend` for one more node on each of B tapes being typed. Everything else - scoring, typing,
rubbing out - is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from rubout.keys import Keys
from rubout.policies.linear_chunks import Head
from rubout.policies.linear_divergence import linear_divergence
from rubout.policies.linear_scores import linear_likelihood, linear_scores
from rubout.policy import Generation, Policy, Scores, Want
from rubout.products import product
from rubout.tape import Tape, replay, with_ends
from rubout.types import ActionSpace, Legality, Sequences, Trajectories

Memory = dict[str, Tensor]


class NetworkPolicy(Policy):
    """A policy whose logits are a linear function of a hidden state per node.

    Attributes:
        head: D hidden units to A logits; created by the subclass.
    """

    head: nn.Linear

    def __init__(self, space: ActionSpace) -> None:
        super().__init__()
        self.space = space

    @abstractmethod
    def encode(self, tape: Tape) -> Tensor:
        """The hidden state of every node, float32 [B, N, D]; each sees its ancestors only."""

    @abstractmethod
    def remember(self, batch_size: int) -> Memory:
        """Empty memory for B tapes being typed, on the policy's device: tensors [B, ...]."""

    @abstractmethod
    def extend(
        self, memory: Memory, rows_M: Tensor | None, tokens_M: Tensor, depths_M: Tensor
    ) -> Tensor:
        """Put one more node on some of the tapes.

        Args:
            memory: read at the ancestors, written at the new nodes; what stood at their depth
                before is overwritten.
            rows_M: int64 [M], which tapes; None: all of them, in order.
            tokens_M: int64 [M], the tokens of the new nodes.
            depths_M: int64 [M], their depths: 0 for the start.

        Returns:
            the hidden states of the new nodes, float32 [M, D].
        """

    def score(
        self, trajectories: Trajectories, want: Collection[Want], temperature: float = 1.0
    ) -> Scores:
        """See `Policy.score`."""
        tape = replay(self.space, trajectories)
        if "values" in want:
            tape = with_ends(self.space, trajectories, tape)
        return self.read(trajectories, tape, self.encode(tape), want, temperature)

    def weighted_log_likelihood(
        self, trajectories: Trajectories, weights_BT: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `Policy.weighted_log_likelihood`; the gradients of the head come with the value."""
        real_BT = trajectories.mask_BT
        total, log_probs_M = linear_likelihood(
            self._head(trajectories, replay(self.space, trajectories)),
            trajectories.labels_BT[real_BT],
            weights_BT[real_BT],
        )
        return total, spread(log_probs_M, real_BT)

    def weighted_divergence(
        self, other: Policy, trajectories: Trajectories, weights_BT: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Policy.weighted_divergence`; as `weighted_log_likelihood`, of two networks."""
        if not isinstance(other, NetworkPolicy) or other.space != self.space:
            return super().weighted_divergence(other, trajectories, weights_BT)
        tape = replay(self.space, trajectories)
        real_BT = trajectories.mask_BT
        own = self._head(trajectories, tape)
        with torch.no_grad():
            constant = other._head(trajectories, tape)
        total, kl_M, log_probs_M = linear_divergence(
            own, constant, trajectories.labels_BT[real_BT], weights_BT[real_BT]
        )
        return total, spread(kl_M, real_BT), spread(log_probs_M, real_BT)

    def _head(self, trajectories: Trajectories, tape: Tape) -> Head:
        """The states that are acted in, and what gives their logits."""
        states = _States.of(trajectories, tape, self.encode(tape), ends=False)
        head = self.head
        return Head(states.hidden_MD, head.weight, head.bias, self.space, states.legality_M)

    def read(
        self,
        trajectories: Trajectories,
        tape: Tape,
        hidden_BND: Tensor,
        want: Collection[Want],
        temperature: float = 1.0,
    ) -> Scores:
        """What `score` gives, where the nodes are encoded already.

        Args:
            trajectories: the logs.
            tape: their replay, `with_ends` where values are wanted.
            hidden_BND: float32 [B, N, D], the hidden state of every node.
            want: see `Policy.score`.
            temperature: divides the logits.
        """
        num_actions = trajectories.actions_BT.shape[1]
        # Without V(s) the final state is of no interest: no action follows it.
        states = _States.of(trajectories, tape, hidden_BND, ends="values" in want)
        real_BS, num_states = states.real_BS, states.real_BS.shape[1]
        hidden_MD = states.hidden_MD * (1.0 / temperature)
        bias_A = self.head.bias * (1.0 / temperature)
        head = Head(hidden_MD, self.head.weight, bias_A, self.space, states.legality_M)
        log_probs = values = log_softmax = None
        if "log_probs" in want or "values" in want:
            # Nobody acts in a final state: an action that is legal there costs nothing to look up.
            idle = max(self.space.eos_id, 0)
            labels_BT = trajectories.labels_BT.masked_fill(~trajectories.mask_BT, idle)
            actions_BS = nn.functional.pad(labels_BT, (0, num_states - num_actions), value=idle)
            chosen_M, logsumexp_M = linear_scores(head, actions_BS[real_BS])
            if "values" in want:
                values = spread(logsumexp_M, real_BS)
            if "log_probs" in want:
                chosen_BS = spread(chosen_M - logsumexp_M, real_BS)
                acted_BT = trajectories.mask_BT
                log_probs = torch.where(acted_BT, chosen_BS[:, :num_actions], 0.0)
        if "log_softmax" in want:
            logits_MA = nn.functional.linear(hidden_MD, self.head.weight, bias_A)
            self.space.mask_illegal_(logits_MA, states.legality_M)
            everywhere = spread(torch.log_softmax(logits_MA, dim=1), real_BS)
            log_softmax = everywhere[:, :num_actions]
            if num_states > num_actions:
                log_softmax = torch.where(trajectories.mask_BT.unsqueeze(2), log_softmax, 0.0)
        return Scores(log_probs, values, log_softmax)

    def start(self, batch_size: int, prompts: Sequences | None = None) -> Generation:
        """See `Policy.start`."""
        return _NetworkGeneration(self, batch_size, prompts)


class _NetworkGeneration(Generation):
    """Keeps the hidden states of the present paths, so that a backspace is a look-up."""

    def __init__(self, policy: NetworkPolicy, batch_size: int, prompts: Sequences | None) -> None:
        self._policy = policy
        self._memory = policy.remember(batch_size)
        weight = policy.head.weight
        device = weight.device
        # Without a backspace nobody returns to an earlier node: one slot will do.
        self._keeps = policy.space.backspace
        slots = policy.space.max_length + 1 if self._keeps else 1
        self._hidden_BLD = weight.new_zeros(batch_size, slots, weight.shape[1])
        self._depth_B = torch.full((batch_size,), -1, dtype=torch.int64, device=device)
        everywhere = torch.ones(batch_size, dtype=torch.bool, device=device)
        nothing = torch.zeros_like(everywhere)
        start = torch.full_like(self._depth_B, policy.space.start_id)
        self.step(start, Keys(everywhere, nothing, nothing))
        if prompts is not None:
            tokens_BP = prompts.tokens_BL.to(device)
            for place in range(tokens_BP.shape[1]):
                typed = place < prompts.lengths_B.to(device)
                self.step(tokens_BP[:, place], Keys(typed, nothing, nothing))

    @torch.no_grad()
    def logits(self, rows_M: Tensor | None = None) -> Tensor:
        """See `Generation.logits`."""
        hidden_BLD, depth_B = self._hidden_BLD, self._depth_B
        if rows_M is None:
            rows_M = torch.arange(len(depth_B), device=depth_B.device)
        slots_M = depth_B[rows_M] if self._keeps else torch.zeros_like(rows_M)
        head = self._policy.head
        return product(hidden_BLD[rows_M, slots_M], head.weight, head.bias)

    @torch.no_grad()
    def step(self, actions_B: Tensor, keys: Keys) -> None:
        """See `Generation.step`; the network runs for rows that typed, and for no others."""
        self._depth_B = self._depth_B + keys.typed_B.long() - keys.rubbed_B.long()
        rows = keys.typed_B.nonzero().squeeze(1)
        if not len(rows):
            return
        everyone = None if len(rows) == len(actions_B) else rows
        depths_M = self._depth_B[rows]
        hidden_MD = self._policy.extend(self._memory, everyone, actions_B[rows], depths_M)
        self._hidden_BLD[rows, depths_M if self._keeps else torch.zeros_like(rows)] = hidden_MD

    def take(self, rows_M: Tensor) -> Self:
        """See `Generation.take`: the memory of the rows is copied, nothing is encoded again."""
        return self._changed(lambda tensor: tensor[rows_M])

    def join(self, others: Sequence[Self]) -> Self:
        """See `Generation.join`."""
        theirs = zip(*(other._tensors() for other in others), strict=True)
        return self._changed(lambda tensor: torch.cat([tensor, *next(theirs)]))

    def _tensors(self) -> list[Tensor]:
        """All that is known of the rows, each tensor's first dimension being theirs."""
        return [self._hidden_BLD, self._depth_B, *self._memory.values()]

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Self:
        """A copy with other rows; `change` is given the tensors in the order of `_tensors`."""
        new = copy(self)
        new._hidden_BLD, new._depth_B = change(self._hidden_BLD), change(self._depth_B)
        new._memory = {name: change(value) for name, value in self._memory.items()}
        return new


@dataclass(frozen=True, slots=True)
class _States:
    """The states of whole logs that are acted in, and the final ones where they are wanted.

    Attributes:
        real_BS: bool, which of the states are meant; M of them.
        hidden_MD: the hidden state of each one's node.
        legality_M: what each allows.
    """

    real_BS: Tensor
    hidden_MD: Tensor
    legality_M: Legality

    @staticmethod
    def of(trajectories: Trajectories, tape: Tape, hidden_BND: Tensor, *, ends: bool) -> _States:
        """From the hidden states of all nodes, float32 [B, N, D]."""
        batch, nodes = hidden_BND.shape[:2]
        num_states = trajectories.actions_BT.shape[1] + ends
        steps = torch.arange(num_states, device=hidden_BND.device)
        real_BS = steps < (trajectories.num_actions_B + ends).unsqueeze(1)
        first_B1 = torch.arange(batch, device=hidden_BND.device).unsqueeze(1) * nodes
        flat_BS = tape.states_BS[:, :num_states] + first_B1
        legality = tape.legality_BS
        legality_M = Legality(
            legality.token[:, :num_states][real_BS],
            legality.backspace[:, :num_states][real_BS],
            legality.forbidden[:, :num_states][real_BS],
        )
        return _States(real_BS, hidden_BND.flatten(0, 1)[flat_BS[real_BS]], legality_M)


def spread(values_M: Tensor, real_BS: Tensor) -> Tensor:
    """Put the values of real states where they belong, 0 elsewhere; any trailing shape."""
    out = values_M.new_zeros((*real_BS.shape, *values_M.shape[1:]))
    return out.index_put(real_BS.nonzero(as_tuple=True), values_M)
