"""LeakGAN's losses on a small world, against loops over samples and steps."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from learners.leakgan import LeakGAN, LeakGANConfig, intrinsic_rewards, rescaled, transitions
from rubout.discriminators import DiscriminatorConfig
from rubout.learner import Alone, Context
from rubout.policies.leakgan import LeakGANPolicy, LeakGANPolicyConfig
from rubout.tape import written
from rubout.types import ActionSpace, Sequences, Trajectories

HORIZONS = [1, 2, 5]


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """0 where nothing has moved."""
    norms = a.norm() * b.norm()
    return (a * b).sum() / norms if bool(norms > 0) else (a * b).sum()


def ragged(world) -> Trajectories:
    """Sequences of 0 to 3 tokens and `<eos>`, some of them twice."""
    space = ActionSpace(world.space.num_tokens, 3)
    rows = [[], [1], [2, 0], [1, 2, 3], [0, 0, 0], [2, 0], [3]]
    return written(space, Sequences.of(rows))


def make(space: ActionSpace, horizon: int, **options) -> LeakGAN:
    torch.manual_seed(1)
    config = LeakGANPolicyConfig(
        embedding=4,
        hidden=5,
        goal=3,
        horizon=horizon,
        init_std=0.6,
        discriminator=DiscriminatorConfig(embedding=4),
    )
    policy = LeakGANPolicy(space, config).double()
    context = Context(space, 8, torch.device("cpu"), Alone())
    return LeakGAN(policy, LeakGANConfig(clip=0.0, **options), context)


def slow_transitions(features, subgoals, counts, horizon) -> dict[tuple[int, int], Tensor]:
    found = {}
    for row, count in enumerate(counts):
        for t in range(count):
            if t + horizon <= count:
                moved = features[row, t + horizon] - features[row, t]
                found[row, t] = cosine(moved, subgoals[row, t])
    return found


def slow_intrinsic(features, subgoals, counts, horizon) -> dict[tuple[int, int], Tensor]:
    found = {}
    for row, count in enumerate(counts):
        for t in range(count):
            terms = [
                cosine(features[row, t + 1] - features[row, t + 1 - i], subgoals[row, t + 1 - i])
                for i in range(1, horizon + 1)
                if t + 1 - i >= 0
            ]
            found[row, t] = torch.stack(terms).mean().detach()
    return found


def slow_ranks(values: list[float], delta: float) -> list[float]:
    """By sorting; equal values have the mean of the places they take."""
    order = sorted(values, reverse=True)
    places = [[n + 1 for n, other in enumerate(order) if other == value] for value in values]
    ranks = [sum(found) / len(found) for found in places]
    return [1 / (1 + math.exp(-delta * (0.5 - rank / len(values)))) for rank in ranks]


@pytest.mark.parametrize("horizon", HORIZONS)
@pytest.mark.parametrize("kind", ["all", "ragged"])
def test_terms_are_those_of_a_loop(world, kind, horizon):
    logs = world.everything if kind == "all" else ragged(world)
    space = world.space if kind == "all" else ActionSpace(4, 3)
    found = make(space, horizon).policy.hierarchy(logs)
    counts = logs.num_actions_B.tolist()
    given = found.features_BSF, found.subgoals_BTF
    cosines_BT, there_BT = transitions(*given, logs.num_actions_B, horizon)
    expected = torch.zeros_like(cosines_BT)
    slow = slow_transitions(*given, counts, horizon)
    for place, value in slow.items():
        expected[place] = value
    torch.testing.assert_close(cosines_BT, expected, rtol=1e-9, atol=1e-12)
    assert there_BT.nonzero().tolist() == [list(place) for place in slow]
    rewards_BT = intrinsic_rewards(*given, horizon)
    assert not rewards_BT.requires_grad
    for place, value in slow_intrinsic(*given, counts, horizon).items():
        torch.testing.assert_close(rewards_BT[place], value, rtol=1e-9, atol=1e-12)


def values_of(logs: Trajectories, seed: int) -> Tensor:
    """Any action values, of which some are equal."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(0, 6, logs.actions_BT.shape, generator=generator) / 5
    return torch.where(logs.mask_BT, drawn.double(), 0.0)


@pytest.mark.parametrize("delta", [0.0, 3.0, 12.0])
def test_rescaling_is_by_sorting(world, delta):
    logs = ragged(world)
    values, mask = values_of(logs, 0), logs.mask_BT
    # Padding is of no rank, whatever stands there.
    found = rescaled(values, values.masked_fill(~mask, 9.0), mask, delta)
    for t in range(values.shape[1]):
        rows = mask[:, t].nonzero().squeeze(1).tolist()
        slow = slow_ranks([float(values[row, t]) for row in rows], delta)
        torch.testing.assert_close(found[rows, t], torch.tensor(slow, dtype=torch.float64))


def test_the_best_of_distinct_values_and_all_that_are_equal():
    values = torch.tensor([[0.1], [0.9], [0.5], [0.7]])
    everyone = torch.ones(4, 1, dtype=torch.bool)
    ranks = torch.tensor([[4.0], [1.0], [3.0], [2.0]])
    expected = torch.sigmoid(12 * (0.5 - ranks / 4))
    torch.testing.assert_close(rescaled(values, values, everyone, 12.0), expected)
    equal = rescaled(torch.ones(4, 1), torch.ones(4, 1), everyone, 12.0)
    torch.testing.assert_close(equal, torch.sigmoid(torch.full((4, 1), 12 * (0.5 - 2.5 / 4))))


def gradients(learner: LeakGAN, part: str) -> list[Tensor]:
    found = [parameter.grad for parameter in learner.policy.parts()[part]]
    return [gradient.clone() for gradient in found if gradient is not None]


def expected_gradients(learner: LeakGAN, part: str, loss: Tensor) -> list[Tensor]:
    parameters = learner.policy.parts()[part]
    found = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
    return list(found)


@pytest.mark.parametrize("rescale", ["rank", "none"])
@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_the_generators_gradients_are_those_of_the_slow_losses(world, horizon, rescale):
    logs = ragged(world)
    values = values_of(logs, horizon)
    learner = make(ActionSpace(4, 3), horizon, rescale=rescale)
    found, counts = learner.policy.hierarchy(logs), logs.num_actions_B.tolist()
    given = found.features_BSF, found.subgoals_BTF
    rewards = slow_intrinsic(*given, counts, horizon)
    worker = torch.stack([-r * found.log_probs_BT[place] for place, r in rewards.items()]).sum()
    terms = []
    for (row, t), value in slow_transitions(*given, counts, horizon).items():
        rows = [other for other, count in enumerate(counts) if count > t]
        ranked = slow_ranks([float(values[other, t]) for other in rows], learner.config.delta)
        weight = ranked[rows.index(row)] if rescale == "rank" else float(values[row, t])
        terms.append(-weight * value)
    expected = {
        "worker": expected_gradients(learner, "worker", worker / len(rewards)),
        "manager": expected_gradients(learner, "manager", torch.stack(terms).mean()),
    }
    paid = Trajectories(
        logs.actions_BT,
        logs.log_probs_BT,
        logs.num_actions_B,
        logs.terminated_B,
        logs.policy_version_B,
        action_values_BT=values,
    )
    metrics = learner.teach_generator(logs, paid)
    for part, slow in expected.items():
        torch.testing.assert_close(gradients(learner, part), slow, rtol=1e-7, atol=1e-12)
    mean = float(torch.stack(list(rewards.values())).mean())
    assert metrics["generator/intrinsic"] == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize("horizon", [1, 2, 5])
def test_likelihood_teaches_the_worker_and_transitions_the_manager(world, horizon):
    logs = ragged(world)
    learner = make(ActionSpace(4, 3), horizon)
    found, counts = learner.policy.hierarchy(logs), logs.num_actions_B.tolist()
    worker = -sum(found.log_probs_BT[row, :count].sum() for row, count in enumerate(counts))
    slow = slow_transitions(found.features_BSF, found.subgoals_BTF, counts, horizon)
    expected = expected_gradients(learner, "worker", worker / sum(counts))
    manager = -torch.stack(list(slow.values())).mean() if slow else None
    from_manager = expected_gradients(learner, "manager", manager) if slow else None
    metrics = learner.teach_by_likelihood(logs)
    torch.testing.assert_close(gradients(learner, "worker"), expected, rtol=1e-7, atol=1e-12)
    if from_manager is None:  # nothing is that long
        assert metrics["manager/cosine"] == 0
        assert not any(gradient.any() for gradient in gradients(learner, "manager"))
    else:
        pair = gradients(learner, "manager"), from_manager
        torch.testing.assert_close(*pair, rtol=1e-7, atol=1e-12)
        assert metrics["manager/cosine"] == pytest.approx(-manager.item(), rel=1e-9)
    assert metrics["loss"] == pytest.approx(worker.item() / sum(counts), rel=1e-9)


def test_the_workers_gradient_over_all_sequences_is_that_of_the_expected_reward(world):
    """E sum_t r_t grad log G(a_t | s_t), with G's own probabilities, by finite differences of G."""
    learner = make(world.space, 2)
    policy, logs = learner.policy, world.everything
    found = policy.hierarchy(logs)
    rewards = intrinsic_rewards(found.features_BSF, found.subgoals_BTF, 2)
    probs = found.log_probs_BT.sum(1).exp().detach()
    loss = -(probs.unsqueeze(1) * rewards * found.log_probs_BT).sum()
    (gradient,) = torch.autograd.grad(loss, policy.head.weight)
    direction = torch.randn_like(policy.head.weight)

    def gain(size: float) -> Tensor:
        """E sum_t r_t where each action is drawn from the moved worker, its past from this one."""
        with torch.no_grad():
            policy.head.weight += size * direction
            moved = policy.hierarchy(logs).log_probs_BT
            policy.head.weight -= size * direction
        ratios = (moved - found.log_probs_BT.detach()).exp()
        return (probs.unsqueeze(1) * ratios * rewards).sum()

    slope = (gain(1e-5) - gain(-1e-5)) / 2e-5
    assert float(-(gradient * direction).sum().detach()) == pytest.approx(float(slope), rel=1e-6)
