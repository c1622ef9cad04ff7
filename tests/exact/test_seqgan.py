"""SeqGAN where everything can be enumerated: the step is a step along the gradient of J.

Batches hold each sequence as often as the policy types it, action values are exact.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from learners.seqgan import SeqGAN, SeqGANConfig, mean_of_others
from rubout.discriminators import Discriminator, DiscriminatorConfig
from rubout.learner import Alone, Context
from rubout.rollout.draw import seed_of, uniforms
from rubout.rollout.rewards import WeightedSum, per_action
from rubout.rollout.sampler import Request, Sampler
from rubout.types import ActionSpace, Trajectories
from tests.exact.completing import Worth
from tests.exact.conftest import World
from tests.exact.counted import SPACES, batch, counted, everything, log_probs
from tests.exact.tabular import TabularPolicy

EXACT = {"rtol": 1e-9, "atol": 1e-12}
JUDGE = DiscriminatorConfig(embedding=4, dropout=0.0)


class ByAction:
    """What an action earns is settled when it is typed."""

    def __call__(self, logs: Trajectories) -> Tensor:
        base = 10 ** torch.arange(logs.actions_BT.shape[1])
        codes_BT = ((logs.actions_BT + 1) * base).cumsum(1)
        return uniforms(7, codes_BT.flatten(), 0).view(codes_BT.shape).float() * logs.mask_BT


def make(policy: TabularPolicy, batch_size: int, **values: object) -> SeqGAN:
    """A learner that teaches the generator alone."""
    options = {"mle_updates": 0, "discriminator_warmup": 0, "discriminator_updates": 0, "clip": 0.0}
    config = SeqGANConfig(**options | {"discriminator": JUDGE} | values)  # type: ignore[arg-type]
    torch.manual_seed(4)
    learner = SeqGAN(
        policy, config, Context(policy.space, batch_size, torch.device("cpu"), Alone())
    )
    for parameter in learner.discriminator.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    learner.reward.eval()
    return learner


def exact_values(policy: TabularPolicy, earned_BT: Tensor) -> Tensor:
    """Q of every action of `everything`: what is earned from it on, over all ways to go on."""
    whole = everything(policy.space)
    chances = log_probs(policy, whole).exp().tolist()
    total: dict[tuple[int, ...], float] = {}
    mass: dict[tuple[int, ...], float] = {}
    logs = [
        tuple(actions[:count])
        for actions, count in zip(
            whole.actions_BT.tolist(), whole.num_actions_B.tolist(), strict=True
        )
    ]
    for log, chance, earned in zip(logs, chances, earned_BT.tolist(), strict=True):
        for step in range(len(log)):
            start = log[: step + 1]
            total[start] = total.get(start, 0.0) + chance * sum(earned[step : len(log)])
            mass[start] = mass.get(start, 0.0) + chance
    values_BT = torch.zeros(whole.actions_BT.shape, dtype=torch.float64)
    for row, log in enumerate(logs):
        for step in range(len(log)):
            values_BT[row, step] = total[log[: step + 1]] / mass[log[: step + 1]]
    return values_BT


def gradient_of(learner: SeqGAN, rollouts: Trajectories) -> Tensor:
    learner.update(rollouts, rollouts)
    weight = learner.policy.head.weight
    assert isinstance(weight, Tensor)
    assert weight.grad is not None
    return weight.grad.clone()


def ascent(policy: TabularPolicy, returns_B: Tensor) -> Tensor:
    """The gradient of E_{x ~ G}[ returns ]."""
    chances_B = log_probs(policy, everything(policy.space)).exp()
    return torch.autograd.grad((chances_B * returns_B).sum(), policy.head.weight)[0]


def batch_with(policy: TabularPolicy, values_BT: Tensor) -> Trajectories:
    """`batch`, each of its rows with the values of that sequence."""
    whole, drawn = everything(policy.space), batch(policy)
    place = {tuple(actions): row for row, actions in enumerate(whole.actions_BT.tolist())}
    rows = [place[tuple(actions)] for actions in drawn.actions_BT.tolist()]
    return replace(drawn, action_values_BT=values_BT[rows])


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> ActionSpace:
    return SPACES[request.param]


def test_the_step_is_along_the_gradient_of_the_expected_verdict(space: ActionSpace) -> None:
    policy, whole = counted(space, 1), everything(space)
    learner = make(policy, 512)
    with torch.no_grad():
        verdicts_B = learner.reward(whole).double()
    assert verdicts_B.std() > 0.1, "the test must see what it is about"
    values_BT = exact_values(policy, per_action(verdicts_B.float(), whole).double())
    expected = -512 * ascent(policy, verdicts_B)
    assert expected.norm() > 1
    found = gradient_of(learner, batch_with(policy, values_BT))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("by_action", [False, True])
def test_with_a_reward_of_the_users_it_is_that_of_the_weighted_sum(
    space: ActionSpace, by_action: bool, share: float
) -> None:
    policy, whole = counted(space, 1), everything(space)
    learner = make(policy, 512, discriminator_share=share)
    judge, mine = learner.judge(), ByAction() if by_action else Worth(space)
    total = WeightedSum([(learner.reward, judge.share), (mine, 1 - judge.share)])  # type: ignore[list-item]
    values_BT = exact_values(policy, per_action(total(whole), whole).double())
    with torch.no_grad():
        verdicts_B = learner.reward(whole).double()
    mine_B = mine(whole).double()
    mine_B = mine_B.sum(1) if by_action else mine_B
    expected = -512 * ascent(policy, share * verdicts_B + (1 - share) * mine_B)
    found = gradient_of(learner, batch_with(policy, values_BT))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "space", [ActionSpace(2, 2, eos=False), ActionSpace(2, 2)], ids=["full", "eos"]
)
def test_the_mean_of_the_others_leaves_the_expected_gradient_alone(space: ActionSpace) -> None:
    """By all pairs; there are steps that only one of the two reaches."""
    policy, whole = counted(space, 1), everything(space)
    learner = make(policy, 2, baseline="batch", generator_lr=0.0)
    generator = torch.Generator().manual_seed(3)
    returns_B = torch.rand(len(whole), generator=generator, dtype=torch.float64)
    last_B1 = whole.num_actions_B.unsqueeze(1) - 1
    zeros_BT = torch.zeros(whole.actions_BT.shape, dtype=torch.float64)
    values_BT = exact_values(policy, zeros_BT.scatter(1, last_B1, returns_B.unsqueeze(1)))
    log_probs_BT = policy.score(whole, {"log_probs"}).log_probs_BT
    assert log_probs_BT is not None
    chances_B = log_probs_BT.sum(1).exp().detach()
    found = torch.zeros_like(policy.head.weight)
    for one in range(len(whole)):
        for other in range(len(whole)):
            pair = torch.tensor([one, other])
            rollouts = replace(whole[pair], action_values_BT=values_BT[pair]).trimmed()
            found += chances_B[one] * chances_B[other] * gradient_of(learner, rollouts)
    torch.testing.assert_close(found, -2 * ascent(policy, returns_B), **EXACT)


def test_the_mean_of_the_others_is_that() -> None:
    values_BT = torch.tensor([[1.0, 5.0, 7.0], [2.0, 3.0, 0.0], [6.0, 0.0, 0.0]])
    sums_2T = torch.tensor([[9.0, 8.0, 7.0], [3.0, 2.0, 1.0]])
    expected = [[4.0, 3.0, 0.0], [3.5, 5.0], [1.5]]
    found = mean_of_others(values_BT, sums_2T).tolist()
    assert [row[: len(real)] for row, real in zip(found, expected, strict=True)] == expected


@pytest.mark.parametrize("baseline", ["none", "batch"])
def test_against_a_discriminator_that_stands_it_types_what_is_judged_best(
    world: World, baseline: str
) -> None:
    """With completions, judged as they are in a run: by a copy that takes what is published."""
    policy = world.policy(2).float()
    learner = make(policy, 32, generator_lr=0.1, baseline=baseline, completions=4)
    data = world.sample(32, 0)
    judge = Discriminator(world.space, JUDGE).eval()
    judge.load_state_dict(learner.published()["reward"].state_dict())
    for update in range(50):
        demand = learner.demand(update)
        request = Request(seed_of(0, update), 0, demand.rollouts, completions=demand.completions)
        learner.update(data, Sampler(policy, judge, judge=judge).sample(request))
    with torch.no_grad():
        verdicts = learner.reward(world.everything)
        mean = float((world.probs(policy) * verdicts).sum())
    assert mean > float(verdicts.topk(3).values.min())
