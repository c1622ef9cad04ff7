"""Policies whose distribution a batch can have exactly: the chance of every action is k / 8."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from rubout.policies.network import NetworkPolicy
from rubout.tape import written
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.exact.conftest import T, V
from tests.exact.tabular import TabularPolicy

SPACES = {"full": ActionSpace(V, T, eos=False), "eos": ActionSpace(V, T)}
SHARES = 8


def prefixes(space: ActionSpace) -> list[tuple[int, ...]]:
    """Every text that can still be typed on."""
    depths = range(space.max_length)
    return [text for d in depths for text in product(range(space.num_tokens), repeat=d)]


def everything(space: ActionSpace) -> Trajectories:
    """Each finished sequence once."""
    depths = range(space.max_length + 1) if space.eos else [space.max_length]
    rows = [list(text) for d in depths for text in product(range(space.num_tokens), repeat=d)]
    return written(space, Sequences.of(rows))


def counted(space: ActionSpace, seed: int) -> TabularPolicy:
    generator = torch.Generator().manual_seed(seed)
    policy = TabularPolicy(space).double()
    for text in prefixes(space):
        cuts = torch.randperm(SHARES - 1, generator=generator)[: space.size - 1].sort().values + 1
        shares = torch.tensor([0, *cuts.tolist(), SHARES]).diff()
        policy.head.weight.data[:, policy.row(text)] = shares.double().log()
    return policy


def log_probs(policy: NetworkPolicy, logs: Trajectories) -> Tensor:
    found = policy.score(logs, {"log_probs"}).log_probs_BT
    assert found is not None
    return found.sum(1)


def batch(policy: TabularPolicy) -> Trajectories:
    """Each sequence as often as the policy types it: 8^L of them."""
    whole = everything(policy.space)
    size = SHARES**policy.space.max_length
    times = log_probs(policy, whole).exp().detach() * size
    assert (times - times.round()).abs().max() < 1e-9
    rows = torch.arange(len(whole)).repeat_interleave(times.round().long())
    assert len(rows) == size
    return whole[rows]


def table(space: ActionSpace, masses: Tensor) -> TabularPolicy:
    """The policy with this distribution over `everything`."""
    policy = TabularPolicy(space).double()
    begun: dict[tuple[int, ...], float] = {}
    whole = everything(space)
    for row, mass in enumerate(masses.tolist()):
        actions = whole.actions_BT[row, : whole.num_actions_B[row]].tolist()
        for length in range(len(actions) + 1):
            start = tuple(actions[:length])
            begun[start] = begun.get(start, 0.0) + mass
    for text in prefixes(space):
        column = torch.tensor([begun[*text, action] for action in range(space.size)])
        policy.head.weight.data[:, policy.row(text)] = column.double().log()
    return policy
