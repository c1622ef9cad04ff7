"""What every policy of ours shares: a network over the nodes of a tape, and a linear head.

A network says how a node follows from its ancestors, twice: `encode` for all nodes of whole logs at
once, `extend` for one more node on each of B tapes being typed. Everything else - scoring, typing,
rubbing out - is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from copy import copy
from typing import Self

import torch
from torch import Tensor, nn

from rubout.keys import Keys
from rubout.policies.linear_chunks import Head
from rubout.policies.linear_divergence import linear_divergence
from rubout.policies.linear_scores import linear_likelihood, linear_scores
from rubout.policies.packing import Packing
from rubout.policy import Generation, Policy, Scores, Want
from rubout.products import Packs, product
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
        acted = Packing(_states(trajectories.mask_BT))
        total, log_probs_M = linear_likelihood(
            self._head(acted, replay(self.space, trajectories)),
            acted.pack(_states(trajectories.labels_BT)),
            acted.pack(_states(weights_BT)),
        )
        return total, acted.pad(log_probs_M)[:, :-1]

    def weighted_divergence(
        self, other: Policy, trajectories: Trajectories, weights_BT: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Policy.weighted_divergence`; as `weighted_log_likelihood`, of two networks."""
        if not isinstance(other, NetworkPolicy) or other.space != self.space:
            return super().weighted_divergence(other, trajectories, weights_BT)
        tape = replay(self.space, trajectories)
        acted = Packing(_states(trajectories.mask_BT))
        own = self._head(acted, tape)
        with torch.no_grad():
            constant = other._head(acted, tape)
        actions_M = acted.pack(_states(trajectories.labels_BT))
        weights_M = acted.pack(_states(weights_BT))
        total, kl_M, log_probs_M = linear_divergence(own, constant, actions_M, weights_M)
        return total, acted.pad(kl_M)[:, :-1], acted.pad(log_probs_M)[:, :-1]

    def _head(self, states: Packing, tape: Tape) -> Head:
        """Some states of a tape, and what gives their logits."""
        hidden_MD = _hidden(states, tape, self.encode(tape))
        head = self.head
        return Head(hidden_MD, head.weight, head.bias, self.space, _legality(states, tape))

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
        # Without V(s) the final state is of no interest: no action follows it.
        acted_BT, ends = trajectories.mask_BT, "values" in want
        acted_BS = _states(acted_BT)
        states = Packing(nn.functional.pad(acted_BT, (1, 0), value=True) if ends else acted_BS)
        hidden_MD = _hidden(states, tape, hidden_BND)
        bias_A: Tensor = self.head.bias
        if temperature != 1.0:
            hidden_MD, bias_A = hidden_MD / temperature, bias_A / temperature
        legality_M = _legality(states, tape)
        head = Head(hidden_MD, self.head.weight, bias_A, self.space, legality_M)
        log_probs = values = log_softmax = None
        if "log_probs" in want or ends:
            # Nobody acts in a final state: an action that is legal there costs nothing to look up.
            idle = max(self.space.eos_id, 0)
            actions_BS = torch.where(acted_BS, _states(trajectories.labels_BT), idle)
            chosen_M, logsumexp_M = linear_scores(head, states.pack(actions_BS))
            if ends:
                values = states.pad(logsumexp_M)
            if "log_probs" in want:
                chosen_BT = states.pad(chosen_M - logsumexp_M)[:, :-1]
                log_probs = torch.where(acted_BT, chosen_BT, 0.0) if ends else chosen_BT
        if "log_softmax" in want:
            logits_MA = nn.functional.linear(hidden_MD, self.head.weight, bias_A)
            self.space.mask_illegal_(logits_MA, legality_M)
            log_softmax = states.pad(torch.log_softmax(logits_MA, dim=1))[:, :-1]
            if ends:
                log_softmax = torch.where(acted_BT.unsqueeze(2), log_softmax, 0.0)
        return Scores(log_probs, values, log_softmax)

    def start(self, batch_size: int, prompts: Sequences | None = None) -> Generation:
        """See `Policy.start`."""
        return _NetworkGeneration(self, batch_size, prompts)


class _NetworkGeneration(Generation):
    """Keeps the hidden states of the present paths, so that a backspace is a look-up.

    The policy's weights are not to change while it types: some are read once and kept.
    """

    def __init__(self, policy: NetworkPolicy, batch_size: int, prompts: Sequences | None) -> None:
        self._policy = policy
        self._memory, self._packs = policy.remember(batch_size), Packs()
        weight, device = policy.head.weight, policy.head.weight.device
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
        return product(self._hidden(rows_M), *self._head())

    @torch.no_grad()
    def scaled_logits(self, rows_M: Tensor, size: int, factor: float) -> Iterator[Tensor]:
        """See `Generation.scaled_logits`: the few hidden units are multiplied instead."""
        weight_AD, bias_A = self._head()
        hidden_MD, scaled_A = self._hidden(rows_M) * factor, bias_A * factor
        return (product(part, weight_AD, scaled_A) for part in torch.split(hidden_MD, size))

    def _head(self) -> tuple[Tensor, Tensor]:
        """Its weight, packed, and its bias."""
        head = self._policy.head
        return self._packs.of(head.weight), head.bias

    def _hidden(self, rows_M: Tensor | None) -> Tensor:
        """The hidden states on which some rows stand: [M, D]."""
        if rows_M is None:
            rows_M = torch.arange(len(self._depth_B), device=self._depth_B.device)
        if not self._keeps:
            return self._hidden_BLD[:, 0].index_select(0, rows_M)
        return self._hidden_BLD[rows_M, self._depth_B[rows_M]]

    @torch.no_grad()
    def step(self, actions_B: Tensor, keys: Keys) -> None:
        """See `Generation.step`; the network runs for rows that typed, and for no others."""
        self._depth_B = self._depth_B + keys.typed_B
        if self._keeps:
            self._depth_B -= keys.rubbed_B.long()
        rows = keys.typed_B.nonzero().squeeze(1)
        if not len(rows):
            return
        depths_B = self._depth_B
        with self._packs.used():
            if len(rows) == len(actions_B):
                hidden_MD = self._policy.extend(self._memory, None, actions_B, depths_B)
            else:
                hidden_MD = self._policy.extend(self._memory, rows, actions_B[rows], depths_B[rows])
        if self._keeps:
            self._hidden_BLD[rows, depths_B[rows]] = hidden_MD
        else:
            self._hidden_BLD[:, 0].index_copy_(0, rows, hidden_MD)

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


def _states(values_BT: Tensor) -> Tensor:
    """What is known of each action, with 0 for the final state, in which nobody acts: [B, S]."""
    return nn.functional.pad(values_BT, (0, 1))


def _hidden(states: Packing, tape: Tape, hidden_BND: Tensor) -> Tensor:
    """The hidden states [M, D] of the nodes on which some states of a tape stand."""
    num_states, num_nodes = states.shape[1], hidden_BND.shape[1]
    first_M = states.places_M // num_states * num_nodes
    return hidden_BND.flatten(0, 1).index_select(0, first_M + states.pack(tape.states_BS))


def _legality(states: Packing, tape: Tape) -> Legality:
    """What some states of a tape allow."""
    rules = tape.legality_BS
    parts = (rules.token, rules.backspace, rules.forbidden)
    return Legality(*(states.pack(part) for part in parts))
