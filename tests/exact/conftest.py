"""Worlds small enough to enumerate: V = 4 tokens, T = 3 of them, 64 sequences."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import pytest
import torch
from torch import Tensor

from rubout.policies.network import NetworkPolicy
from rubout.tape import written
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.exact.tabular import TabularPolicy

V, T = 4, 3


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
