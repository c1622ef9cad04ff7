"""The learner itself, by sampling: it learns to rub out what the data never show rubbed out.

The data are one text, 0. The policy begins with any slips, and types its own rollouts.
"""

from __future__ import annotations

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
BATCH, UPDATES = 256, 300
DATA = written(SPACE, Sequences.of([[0]] * BATCH))
SEEN, UNSEEN = WORLD.texts.index((0,)), WORLD.texts.index((1,))


def train(divergence: str, seed: int = 2) -> tuple[TabularPolicy, torch.Tensor]:
    """The table after training, and before."""
    torch.manual_seed(seed)
    policy = TabularPolicy(SPACE)
    with torch.no_grad():
        policy.head.weight.mul_(0.1)
    before = policy.head.weight.detach().clone()
    config = SequenceMatchConfig(
        lr=0.5, lr_decay=UPDATES, divergence=divergence, alpha=1.0, gamma=WORLD.gamma,
        terminal="eos", bc_updates=0, anneal_updates=0, beta=0.0, sample_every=1, capacity=1,
        stride=1, clip=0.0,
    )  # fmt: skip
    learner = SequenceMatch(policy, config, Context(SPACE, BATCH, torch.device("cpu"), Alone()))
    sampler = Sampler(policy)
    for update in range(UPDATES):
        count = learner.demand(update).rollouts
        rollouts = sampler.sample(Request(seed_of(seed, update), 0, count)) if count else None
        learner.update(DATA, rollouts)
    return policy, before


def test_the_mixture_rubs_out_what_the_data_never_show():
    """In equilibrium the backspace has 1 - 1e-16 after a 1, and 0.0176 after a 0.

    Slips become rare long before, and with them what is learnt from them.
    """
    policy, before = train("chi2-mixture")
    start = before.T[UNSEEN, [SPACE.eos_id, SPACE.backspace_id]].softmax(0)
    assert 0.4 < float(start[1]) < 0.6
    probs_nA = WORLD.probs(policy)
    assert float(probs_nA[UNSEEN, SPACE.backspace_id]) > 0.95
    assert 0.01 < float(probs_nA[SEEN, SPACE.backspace_id]) <= 0.02
    assert float(probs_nA[0, 0]) > 0.99


def test_plain_chi2_leaves_them_as_they_are():
    """It asks for no rollouts, and the logits behind a 1 are the same bits as at the start."""
    policy, before = train("chi2")
    after = policy.head.weight.detach()
    unseen = [policy.row((1,)), policy.row((1,), ended=True)]
    assert after[:, unseen].equal(before[:, unseen])
    assert not after[:, policy.row((0,))].equal(before[:, policy.row((0,))])
    assert float(WORLD.probs(policy)[0, 0]) > 0.99
