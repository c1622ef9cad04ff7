"""Policies that are tables, and typing with a backspace as a world that can be solved."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import torch
from torch import Tensor, nn

from learners.divergences import DIVERGENCES
from learners.sequence_match import Rewards, Terminal, implied_rewards, penalties
from rubout.divergence import Divergence
from rubout.policies.network import Memory, NetworkPolicy
from rubout.tape import Tape
from rubout.types import ActionSpace, Sequences, Trajectories


class TabularPolicy(NetworkPolicy):
    """One free row of logits for every prefix: it can be any distribution over sequences.

    Where there is an `<eos>`, the absorbing state behind it has a row of its own as well, another
    one for every text.
    """

    def __init__(self, space: ActionSpace) -> None:
        super().__init__(space)
        self.num_prefixes = sum(space.num_tokens**depth for depth in range(space.max_length + 1))
        self.num_rows = self.num_prefixes * (2 if space.eos else 1)
        self.head = nn.Linear(self.num_rows, space.size)
        nn.init.normal_(self.head.weight, std=0.5)
        nn.init.zeros_(self.head.bias).requires_grad_(requires_grad=False)

    def row(self, text: tuple[int, ...], *, ended: bool = False) -> int:
        """The number of the state with this text on the tape, or of the one after its `<eos>`."""
        number = 0
        for token in text:
            number = number * self.space.num_tokens + 1 + token
        return number + ended * self.num_prefixes

    def encode(self, tape: Tape) -> Tensor:
        numbers = torch.zeros_like(tape.tokens_BN)
        for node in range(1, tape.tokens_BN.shape[1]):
            above = numbers.gather(1, tape.parents_BN[:, node : node + 1]).squeeze(1)
            token = tape.tokens_BN[:, node]
            number = above * self.space.num_tokens + 1 + token
            number = torch.where(token == self.space.start_id, self.num_prefixes + above, number)
            numbers[:, node] = torch.where(tape.depths_BN[:, node] > 0, number, 0)
        return self._one_hot(numbers)

    def remember(self, batch_size: int) -> Memory:
        return {"numbers": torch.zeros(batch_size, self.space.max_length + 1, dtype=torch.int64)}

    def extend(
        self, memory: Memory, rows_M: Tensor | None, tokens_M: Tensor, depths_M: Tensor
    ) -> Tensor:
        numbers = memory["numbers"]
        rows = torch.arange(len(numbers)) if rows_M is None else rows_M
        above = numbers[rows, (depths_M - 1).clamp(min=0)]
        number = torch.where(depths_M > 0, above * self.space.num_tokens + 1 + tokens_M, 0)
        numbers[rows, depths_M] = number
        return self._one_hot(number)

    def _one_hot(self, numbers: Tensor) -> Tensor:
        return nn.functional.one_hot(numbers, self.num_rows).to(self.head.weight.dtype)


class Typing:
    """Typing as a Markov decision process: every tape that can stand, and every action there.

    A log that ends by `<eos>` stays for ever in an absorbing state, one for every text. K counts
    the pairs of a state and a legal action, n the states.

    Attributes:
        texts: what stands on the tape, by state.
        logs_K: a log for every pair: the text is typed, then the action.
        states_K, actions_K: what the pairs are of.
        ends_K: whether the action is `<eos>`.
        next_K: the state after; 0 after `<eos>`.
    """

    def __init__(self, space: ActionSpace, gamma: float) -> None:
        self.space, self.gamma = space, gamma
        depths = range(space.max_length + 1)
        self.texts = [text for d in depths for text in product(range(space.num_tokens), repeat=d)]
        lengths = torch.tensor([len(text) for text in self.texts])
        zeros = torch.zeros_like(lengths)
        self.legal_nA = space.mask(space.legality(lengths, zeros, zeros, zeros - 1))
        self.states_K, self.actions_K = self.legal_nA.nonzero(as_tuple=True)
        self.ends_K = self.actions_K == space.eos_id
        pairs = zip(self.states_K.tolist(), self.actions_K.tolist(), strict=True)
        typed = Sequences.of([[*self.texts[state], action] for state, action in pairs])
        self.logs_K = Trajectories(
            actions_BT=typed.tokens_BL,
            log_probs_BT=torch.zeros(typed.tokens_BL.shape),
            num_actions_B=typed.lengths_B,
            terminated_B=self.ends_K,
            policy_version_B=torch.full_like(typed.lengths_B, -1),
        )
        self.next_K = torch.tensor([self._after(pair) for pair in range(len(self.states_K))])

    def _after(self, pair: int) -> int:
        text, action = self.texts[self.states_K[pair]], int(self.actions_K[pair])
        if action == self.space.eos_id:
            return 0
        rubs_out = action == self.space.backspace_id
        return self.texts.index(text[:-1] if rubs_out else (*text, action))

    def visits(self, probs_nA: Tensor) -> Tensor:
        """Expected discounted visits of each pair, [K]; differentiable."""
        size = len(self.texts)
        flow_K = self.gamma * probs_nA[self.states_K, self.actions_K] * ~self.ends_K
        moves = probs_nA.new_zeros(size, size)
        moves = moves.index_put((self.next_K, self.states_K), flow_K, accumulate=True)
        start = torch.eye(size, dtype=probs_nA.dtype)[0]
        states_n = torch.linalg.solve(torch.eye(size, dtype=probs_nA.dtype) - moves, start)
        return states_n[self.states_K] * probs_nA[self.states_K, self.actions_K]

    def occupancy(self, visits_K: Tensor) -> Tensor:
        """rho [K + n]: of the pairs, then of the absorbing states after the `<eos>` of each."""
        ended_K = self.gamma / (1 - self.gamma) * visits_K[self.ends_K]
        return (1 - self.gamma) * torch.cat([visits_K, ended_K])

    def logits(self, policy: TabularPolicy) -> Tensor:
        """l [n, A], -inf where illegal."""
        logits_nA = policy.head.weight.detach().T[: len(self.texts)]
        return logits_nA.masked_fill(~self.legal_nA, -torch.inf)

    def probs(self, policy: TabularPolicy) -> Tensor:
        """pi [n, A]."""
        return self.logits(policy).softmax(1)

    def score(self, policy: TabularPolicy, terminal: Terminal = "eos") -> tuple[Tensor, Rewards]:
        """log pi [K], and what is implied along the last action of each log.

        The weights are those of one visit of a pair.
        """
        scores = policy.score(self.logs_K, {"log_probs", "values"})
        assert scores.log_probs_BT is not None
        assert scores.values_BS is not None
        found = implied_rewards(
            scores.log_probs_BT, scores.values_BS, self.logs_K, self.gamma, terminal
        )
        last_K1 = self.logs_K.num_actions_B.unsqueeze(1) - 1
        weights = torch.zeros_like(found.weights_BT).scatter(1, last_K1, 1.0)
        tail_B = torch.where(found.tail_B > 0, self.gamma / (1 - self.gamma), 0.0)
        log_probs_K = scores.log_probs_BT.gather(1, last_K1).squeeze(1)
        return log_probs_K, replace(found, weights_BT=weights, tail_B=tail_B)

    def rewards(self, policy: TabularPolicy) -> Tensor:
        """x [K + n], in the order of `occupancy`."""
        _, found = self.score(policy)
        last_K1 = self.logs_K.num_actions_B.unsqueeze(1) - 1
        ended = (1 - self.gamma) * found.final_B[self.ends_K]
        return torch.cat([found.x_BT.gather(1, last_K1).squeeze(1), ended])

    def loss(
        self,
        policy: TabularPolicy,
        data_K: Tensor,
        penalised_K: Tensor,
        divergence: Divergence,
        alpha: float,
        terminal: Terminal = "eos",
    ) -> Tensor:
        """The loss of SequenceMatch with expectations in the place of a batch.

        Args:
            policy: float64.
            data_K: visits of the data.
            penalised_K: visits under mu.
            divergence: g.
            alpha: strength of the entropy.
            terminal: V after the end.
        """
        log_probs_K, found = self.score(policy, terminal)
        penalty_K = penalties(found, divergence, alpha, self.gamma)
        return -(data_K * log_probs_K).sum() + (penalised_K * penalty_K).sum()

    def unbalance(
        self,
        policy: TabularPolicy,
        data_K: Tensor,
        alpha: float,
        terminal: Terminal = "eos",
    ) -> float:
        """How far the mixture is from its fixed point, rollouts being the policy's own.

        The largest gradient of a logit, relative to how often it is chosen: where the policy hardly
        ever goes, its gradient is as small as that.
        """
        typed_K = self.visits(self.probs(policy))
        policy.head.weight.grad = None
        mixture = DIVERGENCES["chi2-mixture"]
        self.loss(policy, data_K, (data_K + typed_K) / 2, mixture, alpha, terminal).backward()
        gradient = policy.head.weight.grad
        assert gradient is not None
        chosen = [
            gradient[self.actions_K, self.states_K],
            gradient[self.space.eos_id, self.end_rows()],
        ]
        rho = self.occupancy(data_K) + self.occupancy(typed_K)
        return float((torch.cat(chosen) / rho).abs().max())

    def end_rows(self) -> Tensor:
        """The rows of the absorbing states."""
        return torch.arange(len(self.texts)) + len(self.texts)
