"""Maximum likelihood: the loss it says, an optimum that is known, and any split of a batch."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from learners.mle import MLE, MLEConfig, schedule, weighted_nll
from learners.psi_mle import PsiMLE, PsiMLEConfig
from rubout.discriminators import DiscriminatorConfig
from rubout.learner import Alone, Context
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import written
from rubout.training.data import Batches
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.learners.group import members, same_weights, update_as_one

SPACE = ActionSpace(7, 5)


def batch(seed: int, count: int = 8) -> Trajectories:
    """Sentences of all lengths, the empty one included."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, 6, (count,), generator=generator).tolist()
    rows = [torch.randint(0, 7, (n,), generator=generator).tolist() for n in lengths]
    return written(SPACE, Sequences.of(rows))


def policy(space: ActionSpace = SPACE, hidden: int = 8) -> LSTMPolicy:
    torch.manual_seed(5)
    return LSTMPolicy(space, LSTMConfig(hidden=hidden, embedding=8, init_std=0.5))


def context(group=None, batch_size: int = 8, space: ActionSpace = SPACE) -> Context:
    return Context(space, batch_size, torch.device("cpu"), group or Alone())


def literal_loss(model: LSTMPolicy, data: Trajectories) -> float:
    """The mean over actions of -log p(a_t | a_1 .. a_t-1): one prefix at a time."""
    total, count = 0.0, 0
    for row in range(len(data)):
        actions = data.actions_BT[row, : data.num_actions_B[row]].tolist()
        for step, action in enumerate(actions):
            prefix = Sequences.of([actions[:step]]) if step else None
            logits = model.start(1, prefix).logits().double()
            if step == SPACE.max_length:  # the tape is full: only <eos> is left
                logits[:, : SPACE.num_tokens] = -torch.inf
            total -= float(torch.log_softmax(logits, dim=1)[0, action])
            count += 1
    return total / count


def test_the_loss_is_the_mean_over_actions():
    data, model = batch(0), policy()
    model.eval()
    with torch.no_grad():
        expected = literal_loss(model, data)
    metrics = MLE(model, MLEConfig(), context()).update(data, None)
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)
    assert metrics["gradient_norm"] > 0


def test_weighted_nll_is_a_double_loop():
    log_probs = -torch.rand(3, 4)
    num_actions = torch.tensor([4, 1, 2])
    log_probs[1, 1:] = log_probs[2, 2:] = 0
    weights = torch.tensor([0.5, 2.0, 0.5])
    expected = 0.0
    for row in range(3):
        for step in range(int(num_actions[row])):
            expected -= float(weights[row] * log_probs[row, step]) / 7
    found = weighted_nll(log_probs, num_actions, weights, torch.tensor(7))
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_the_gradient_is_clipped():
    def moved(clip: float) -> Tensor:
        model = policy()
        before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
        learner = MLE(model, MLEConfig(clip=clip), context())
        learner.optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        learner.update(batch(0), None)
        return (torch.cat([p.detach().flatten() for p in model.parameters()]) - before).norm()

    norm = float(moved(0))
    assert norm > 0.1
    assert float(moved(0.05)) == pytest.approx(0.05, rel=1e-3)


def test_it_learns_a_world_with_a_known_optimum():
    space = ActionSpace(4, 3, eos=False)
    everything = list(product(range(4), repeat=3))
    generator = torch.Generator().manual_seed(1)
    p_data = torch.softmax(1.5 * torch.randn(64, generator=generator), dim=0)
    drawn = torch.multinomial(p_data, 4000, replacement=True, generator=generator)
    empirical = torch.bincount(drawn, minlength=64) / 4000
    data = written(space, Sequences.of([everything[index] for index in drawn.tolist()]))
    batches = Batches(data, 500, seed=0)
    model = policy(space, hidden=32)
    learner = MLE(model, MLEConfig(lr=0.01), context(batch_size=500, space=space))

    def divergence() -> float:
        """KL(empirical || model)."""
        with torch.no_grad():
            typed = written(space, Sequences.of(everything))
            log_p = model.score(typed, {"log_probs"}).log_probs_BT.sum(1)
        assert float(log_p.exp().sum()) == pytest.approx(1, abs=1e-4)
        held = empirical > 0
        return float((empirical * (empirical.log() - log_p))[held].sum())

    assert divergence() > 0.3
    for update in range(400):
        if update == 300:
            for group in learner.optimizer.param_groups:
                group["lr"] = 0.001
        learner.update(batches.batch(update), None)
    assert divergence() < 0.01


def make(kind, config, group=None):
    return kind(policy(), config, context(group))


def psi(mixture: float, **options: object) -> PsiMLEConfig:
    network = DiscriminatorConfig(dropout=0.0)
    return PsiMLEConfig(
        mixture=mixture,
        mle_updates=1,
        warmup=1,
        ratio_lr=0.001,
        lr=0.01,
        network=network,
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (MLE, MLEConfig(lr=0.01)),
        (MLE, MLEConfig(lr=0.01, clip=0.05)),
        (PsiMLE, psi(0.5)),
        (PsiMLE, psi(0.3)),
        (PsiMLE, psi(0.0)),
        (PsiMLE, psi(0.75, weight="mix")),
        (PsiMLE, psi(0.5, normalise=False, bregman="quadratic")),
    ],
)
def test_a_group_is_one_learner_on_the_joined_batch(kind, config, size):
    alone = make(kind, config)
    group = [make(kind, config, member) for member in members(size)]
    sampler = Sampler(policy())
    for update in range(4):
        data = batch(update)
        count = alone.demand(update).rollouts
        rollouts = sampler.sample(Request(update, 0, count)) if count else None
        update_as_one(alone, group, data, rollouts)
    same_weights(alone, group)


def test_the_learning_rate_rises_and_falls_and_goes_on_where_it_was() -> None:
    weight = torch.nn.Parameter(torch.zeros(2))
    config = MLEConfig(lr=0.1, lr_warmup=3, lr_decay=4)
    optimizer = torch.optim.Adam([weight], lr=config.lr)
    rates = []
    for step in range(9):
        if step == 5:  # as a resumed run has it
            saved = optimizer.state_dict()
            optimizer = torch.optim.Adam([weight], lr=config.lr)
            optimizer.load_state_dict(saved)
        schedule(optimizer, config)
        rates.append(optimizer.param_groups[0]["lr"])
        weight.grad = torch.ones(2)
        optimizer.step()
    half = math.sqrt(0.5)
    expected = [0.025, 0.05, 0.075, 0.1, (1 + half) / 20, 0.05, (1 - half) / 20, 0, 0]
    assert rates == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_without_a_schedule_the_learning_rate_stays() -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(2))], lr=0.3)
    schedule(optimizer, MLEConfig(lr=0.1))
    assert optimizer.param_groups[0]["lr"] == 0.3
