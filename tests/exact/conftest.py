"""Worlds small enough to enumerate: V = 4 tokens, T = 3 of them, 64 sequences."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from rubout.policies.network import Memory, NetworkPolicy
from rubout.tape import Tape, written
from rubout.types import ActionSpace, Sequences, Trajectories

V, T = 4, 3


class TabularPolicy(NetworkPolicy):
    """One free row of logits for every prefix: it can be any distribution over sequences."""

    def __init__(self, space: ActionSpace) -> None:
        super().__init__(space)
        self.num_prefixes = sum(space.num_tokens**depth for depth in range(space.max_length + 1))
        self.head = nn.Linear(self.num_prefixes, space.size)
        nn.init.normal_(self.head.weight, std=0.5)
        nn.init.zeros_(self.head.bias).requires_grad_(requires_grad=False)

    def encode(self, tape: Tape) -> Tensor:
        numbers = torch.zeros_like(tape.tokens_BN)
        for node in range(1, tape.tokens_BN.shape[1]):
            above = numbers.gather(1, tape.parents_BN[:, node : node + 1]).squeeze(1)
            number = above * self.space.num_tokens + 1 + tape.tokens_BN[:, node]
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
        return nn.functional.one_hot(numbers, self.num_prefixes).to(self.head.weight.dtype)


@dataclass(frozen=True)
class World:
    """All sequences of a fixed length, and the data's distribution over them."""

    space: ActionSpace
    everything: Trajectories  # each of the 64 sequences once
    p_data: Tensor  # float64 [64]

    def policy(self, seed: int) -> TabularPolicy:
        torch.manual_seed(seed)
        return TabularPolicy(self.space).double()

    def probs(self, policy: NetworkPolicy) -> Tensor:
        log_probs = policy.score(self.everything, {"log_probs"}).log_probs_BT
        assert log_probs is not None
        return log_probs.sum(1).exp()

    def sample(self, count: int, seed: int) -> Trajectories:
        generator = torch.Generator().manual_seed(seed)
        return self.everything[
            torch.multinomial(self.p_data, count, replacement=True, generator=generator)
        ]


@pytest.fixture
def world() -> World:
    space = ActionSpace(V, T, eos=False)
    rows = [list(row) for row in product(range(V), repeat=T)]
    generator = torch.Generator().manual_seed(7)
    p_data = torch.softmax(torch.randn(len(rows), generator=generator, dtype=torch.float64), 0)
    return World(space, written(space, Sequences.of(rows)), p_data)
