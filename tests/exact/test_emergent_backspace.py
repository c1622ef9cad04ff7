"""The learner itself, by sampling: it learns to rub out what the data never show rubbed out.

The data are one text, 0. The policy begins with any slips, and types its own rollouts.
"""

from __future__ import annotations

import pytest
import torch

from learners.sequence_match import SequenceMatch, SequenceMatchConfig
from rubout.learner import Alone, Context
from rubout.rollout.draw import seed_of
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import written
from rubout.types import ActionSpace, Sequences
from tests.exact.tabular import TabularPolicy, Typing

SPACE = ActionSpace(2, 1, backspace=True, max_actions=12)
WORLD = Typing(SPACE, gamma=0.9)
BATCH = 128
DATA = written(SPACE, Sequences.of([[0]] * BATCH))
SEEN, UNSEEN = WORLD.texts.index((0,)), WORLD.texts.index((1,))


def train(policy: TabularPolicy, divergence: str, updates: int) -> None:
    config = SequenceMatchConfig(
        lr=0.5, divergence=divergence, alpha=1.0, gamma=WORLD.gamma, terminal="eos",
        bc_updates=0, anneal_updates=0, beta=0.0, sample_every=1, capacity=1, stride=1, clip=0.0,
    )  # fmt: skip
    learner = SequenceMatch(policy, config, Context(SPACE, BATCH, torch.device("cpu"), Alone()))
    sampler = Sampler(policy)
    for update in range(updates):
        learner.optimizer.param_groups[0]["lr"] = 0.5 * min(1.0, 2 - 2 * update / updates)
        count = learner.demand(update).rollouts
        rollouts = sampler.sample(Request(seed_of(0, update), 0, count)) if count else None
        assert (rollouts is None) == (divergence == "chi2")
        learner.update(DATA, rollouts)


def policy() -> TabularPolicy:
    torch.manual_seed(0)
    return TabularPolicy(SPACE)


@pytest.mark.parametrize("terminal", ["zero", "eos"])
def test_p(terminal):
    pass
