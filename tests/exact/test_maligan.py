"""MaliGAN where everything can be enumerated: what the estimator is, and what it comes to."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from learners.adversarial import phase
from learners.maligan import MaliGAN, MaliGANConfig, maligan_weights
from rubout.discriminators import DiscriminatorConfig
from rubout.learner import Alone, Context
from rubout.policies.network import NetworkPolicy
from rubout.rollout.draw import seed_of
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import survivors, written
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.exact.conftest import T, V, World
from tests.exact.tabular import TabularPolicy

AT_ONCE = {"mle_updates": 0, "discriminator_warmup": 0, "baseline_updates": 0, "clip": 0.0}


class Verdicts(nn.Module):
    """A discriminator that is a table: the logit of every text of up to T tokens."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, sequences: Sequences) -> Tensor:
        return self.logits[[number(row) for row in sequences.lists()]]


def number(row: list[int]) -> int:
    """Texts of T tokens are numbered as the world numbers them, shorter ones come after."""
    place = sum(token * V ** (T - 1 - depth) for depth, token in enumerate(row))
    return place + V**T * (T - len(row))


def make(policy: NetworkPolicy, logits: Tensor, batch_size: int, **values: object) -> MaliGAN:
    config = MaliGANConfig(**AT_ONCE | values)  # type: ignore[arg-type]
    learner = MaliGAN(
        policy, config, Context(policy.space, batch_size, torch.device("cpu"), Alone())
    )
    learner.discriminator = Verdicts(logits)  # type: ignore[assignment]
    return learner


def uniform(world: World) -> TabularPolicy:
    policy = world.policy(1)
    nn.init.zeros_(policy.head.weight)
    return policy


def by_text(world: World, policy: NetworkPolicy) -> Tensor:
    log_probs = policy.score(world.everything, {"log_probs"}).log_probs_BT
    assert log_probs is not None
    return log_probs


def gradient(value: Tensor, policy: TabularPolicy) -> Tensor:
    return torch.autograd.grad(value, policy.head.weight, retain_graph=True)[0]


def gradient_of(learner: MaliGAN, data: Trajectories, rollouts: Trajectories) -> Tensor:
    learner.update(data, rollouts)
    weight = learner.policy.head.weight
    assert isinstance(weight, Tensor)
    assert weight.grad is not None
    return weight.grad.clone()


@pytest.mark.parametrize("b", [0.0, 0.3, 1.0])
def test_the_expected_gradient_of_two_samples_is_the_same_for_every_baseline(world, b):
    """By all 4,096 pairs: E sum_i r_i / (r_1 + r_2) grad log p(x_i)."""
    policy = world.policy(2)
    log_probs = by_text(world, policy)
    p = log_probs.sum(1).exp().detach()
    generator = torch.Generator().manual_seed(3)
    ratios = torch.randn(64, generator=generator, dtype=torch.float64).exp()
    first, second = torch.cartesian_prod(torch.arange(64), torch.arange(64)).T
    rows = torch.stack([first, second], dim=1).flatten()
    weights = 2 * ratios[rows] / (ratios[first] + ratios[second]).repeat_interleave(2)
    chances = (p[first] * p[second]).repeat_interleave(2)
    weights = maligan_weights(weights, torch.zeros_like(rows), b, torch.tensor(2.0), T)
    # Linear in log p: the mean of the pairs' losses.
    loss = (weights * chances.unsqueeze(1) * log_probs[rows]).sum()
    masses = [0.0] * 64
    for one, (p_one, r_one) in enumerate(zip(p.tolist(), ratios.tolist(), strict=True)):
        for other, (p_other, r_other) in enumerate(zip(p.tolist(), ratios.tolist(), strict=True)):
            masses[one] += p_one * p_other * r_one / (r_one + r_other)
            masses[other] += p_one * p_other * r_other / (r_one + r_other)
    mass = torch.tensor(masses, dtype=torch.float64)
    expected = gradient(-(mass * log_probs.sum(1)).sum(), policy)
    torch.testing.assert_close(gradient(loss, policy), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("b", [0.0, 1.0])
@pytest.mark.parametrize("weights", ["ratio", "probability"])
def test_with_every_sequence_once_it_ascends_the_log_likelihood_of_q(world, weights, b):
    """p' uniform, each of its samples once: q is D / (1 - D), or D, normalised."""
    policy = uniform(world)
    logits = (world.p_data * 64).log()
    learner = make(policy, logits, 64, weights=weights, baseline=b)
    q = world.p_data if weights == "ratio" else torch.sigmoid(logits)
    expected = gradient(-(q / q.sum() * by_text(world, policy).sum(1)).sum(), policy)
    found = gradient_of(learner, world.sample(64, 0), world.everything)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_where_no_prefix_is_left_weights_are_normalised_over_the_whole_batch(world):
    policy = uniform(world)
    logits = (world.p_data * 64).log()
    learner = make(policy, logits, 8, prefix_start=2, prefix_step=2, prefix_updates=1)
    learner.updates = 6  # the generator's second
    expected = gradient(-(world.p_data * by_text(world, policy).sum(1)).sum(), policy)
    found = gradient_of(learner, world.sample(8, 0), world.everything)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("prefix", [1, 2])
def test_with_every_continuation_once_it_ascends_that_of_the_data_after_the_prefix(world, prefix):
    policy = uniform(world)
    rest = V ** (T - prefix)
    data = world.sample(6, 5)
    logits = (world.p_data * 64).log()
    learner = make(policy, logits, 6, baseline=1.0, prefix_start=prefix, continuations=rest)
    begun = [number(row[:prefix] + [0] * (T - prefix)) for row in data.actions_BT.tolist()]
    rows = torch.cat([torch.arange(first, first + rest) for first in begun])
    log_probs = by_text(world, policy)
    total = torch.zeros((), dtype=torch.float64)
    for first in begun:
        p_rest = world.p_data[first : first + rest] / world.p_data[first : first + rest].sum()
        total -= log_probs[first, :prefix].sum()
        total -= (p_rest * log_probs[first : first + rest, prefix:].sum(1)).sum()
    expected = gradient(total / 6, policy)
    found = gradient_of(learner, data, world.everything[rows])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("eos", [False, True])
@pytest.mark.parametrize("prefix", [1, 2, 9])
def test_the_mixed_gradient_is_its_definition(eos, prefix):
    """Term by term, sequences of all lengths; the last action of each is the generator's own."""
    space = ActionSpace(V, T, eos=eos)
    torch.manual_seed(4)
    policy = TabularPolicy(space).double()
    lengths = [0, 3, 1, 2] if eos else [T] * 4
    data = written(space, Sequences.of([[2, 0, 3][:n] for n in lengths]))
    kept = (data.num_actions_B - 1).clamp(max=prefix)
    starts = Sequences(data.actions_BT[:, : int(kept.max())], kept)[
        torch.arange(4).repeat_interleave(3)
    ]
    starts = replace(starts, tokens_BL=starts.tokens_BL.masked_fill(~starts.mask_BL, 0))
    rollouts = Sampler(deepcopy(policy).float()).sample(Request(0, 0, 12, prefixes=starts))
    logits = torch.randn(V**T * (T + 1), dtype=torch.float64)
    learner = make(policy, logits, 4, baseline=0.7, prefix_start=prefix, continuations=3)
    ratios = learner.discriminator(survivors(space, rollouts)).exp().tolist()
    loss = torch.zeros((), dtype=torch.float64)
    for i in range(4):
        own = range(3 * i, 3 * i + 3)
        cut = min(prefix, int(data.num_actions_B[i]) - 1)
        scored = policy.score(data[i : i + 1], {"log_probs"}).log_probs_BT[0]
        loss -= scored[:cut].sum() / 4
        for j in own:
            count = int(rollouts.num_actions_B[j])
            assert rollouts.actions_BT[j, :cut].equal(data.actions_BT[i, :cut])
            scored = policy.score(rollouts[j : j + 1], {"log_probs"}).log_probs_BT[0]
            share = ratios[j] / sum(ratios[k] for k in own)
            loss -= (share - 0.7 / 3) * scored[cut:count].sum() / 4
    expected = gradient(loss, policy)
    found = gradient_of(learner, data, rollouts)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_logits_are_clamped(world):
    policy = uniform(world)
    logits = torch.full((64,), -50.0, dtype=torch.float64)
    logits[7] = 50.0
    found = make(policy, logits, 64).update(world.sample(64, 0), world.everything)
    e = torch.tensor([10.0, -10.0], dtype=torch.float64).exp()
    assert found["weights/mean"] == pytest.approx(float((e[0] + 63 * e[1]) / 64), rel=1e-9)
    assert found["weights/ess"] == pytest.approx(1 / 64, rel=1e-5)


@pytest.mark.parametrize("prefix", [0, 2])
def test_the_learner_itself_comes_close_by_sampling(world, prefix):
    """Fresh samples, a discriminator that learns: KL(p_data || p) ends far below where it began."""
    policy = world.policy(4).float()
    config = MaliGANConfig(
        mle_updates=0,
        discriminator_warmup=30,
        discriminator_updates=1,
        generator_lr=0.06,
        discriminator_lr=0.01,
        discriminator_l2=0.0,
        discriminator_steps=2,
        discriminator=DiscriminatorConfig(embedding=8, dropout=0.0),
        prefix_start=prefix,
        prefix_updates=10,
        continuations=4,
    )
    torch.manual_seed(0)
    learner = MaliGAN(policy, config, Context(world.space, 128, torch.device("cpu"), Alone()))

    def divergence() -> float:
        with torch.no_grad():
            return float((world.p_data * (world.p_data / world.probs(policy)).log()).sum())

    before = divergence()
    for update in range(90):
        data, demand = world.sample(128, update), learner.demand(update)
        starts = None
        if demand.prefix:
            rows = torch.arange(128).repeat_interleave(demand.rollouts // 128)
            kept = torch.full((128,), demand.prefix)
            starts = Sequences(data.actions_BT[:, : demand.prefix], kept)[rows]
        request = Request(seed_of(0, update), 0, demand.rollouts, prefixes=starts)
        assert demand.rollouts == (
            128 if phase(config, update) != "generator" or not prefix else 512
        )
        learner.update(data, Sampler(policy).sample(request))
    assert before > 0.5
    assert divergence() < 0.1
