"""RankGAN by loops and by enumeration: the rank, the ranker's loss, the policy gradient."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from learners.rankgan import RankGAN, RankGANConfig
from rubout.learner import Alone, Context
from rubout.ranker import Ranker, RankerConfig, cosines, log_ranks
from rubout.rollout.draw import seed_of
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import survivors
from rubout.types import Trajectories
from tests.exact.conftest import T, V, World

SMALL = RankerConfig(embedding=4, references=3, comparisons=4, gamma=2.0, dropout=0.0)


def literal_rank(y: Tensor, references: Tensor, others: Tensor, gamma: float) -> float:
    """mean over u of exp(g a(s|u)) / sum over s' in C and s of exp(g a(s'|u))."""

    def alike(one: Tensor, other: Tensor) -> float:
        dot = sum(a * b for a, b in zip(one.tolist(), other.tolist(), strict=True))
        norms = [math.sqrt(sum(a * a for a in each.tolist())) for each in (one, other)]
        return dot / norms[0] / norms[1]

    total = 0.0
    for u in references:
        own = math.exp(gamma * alike(y, u))
        total += own / (own + sum(math.exp(gamma * alike(other, u)) for other in others))
    return total / len(references)


def make(world: World, batch_size: int, **values: object) -> RankGAN:
    torch.manual_seed(3)
    options = {"discriminator_warmup": 1, "mle_updates": 0, "discriminator": SMALL} | values
    context = Context(world.space, batch_size, torch.device("cpu"), Alone())
    return RankGAN(world.policy(2).float(), RankGANConfig(**options), context)  # type: ignore[arg-type]


@pytest.mark.parametrize("gamma", [0.5, 1.0, 7.0])
def test_a_rank_is_its_definition(gamma):
    torch.manual_seed(0)
    y, references, others = (torch.randn(n, 6, dtype=torch.float64) for n in (5, 3, 4))
    above, below = log_ranks(cosines(y, references), cosines(others, references), gamma)
    for row in range(5):
        rank = literal_rank(y[row], references, others, gamma)
        assert float(above[row].exp()) == pytest.approx(rank, rel=1e-12)
        assert float(below[row].exp()) == pytest.approx(1 - rank, rel=1e-12)


def test_the_reward_is_the_rank_of_what_was_left_on_the_tape(world):
    torch.manual_seed(1)
    ranker = Ranker(world.space, SMALL).eval()
    real = survivors(world.space, world.sample(7, 0))
    ranker.compare_with(real[:3], real[3:])
    found = ranker(world.everything)
    y = ranker.network.features(survivors(world.space, world.everything))
    references, others = ranker.network.features(real).split([3, 4])
    expected = [literal_rank(row, references, others, 2.0) for row in y]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert found.std() > 0.01
    again = Ranker(world.space, SMALL).eval()
    again.load_state_dict(ranker.state_dict())
    assert again(world.everything).equal(found), "its state holds all that it compares with"


def test_the_rankers_loss_is_its_definition(world):
    """And so is its gradient, through references and comparisons as well."""
    learner = make(world, 10)
    learner.ranker.double()
    twin = deepcopy(learner.ranker.network)
    real = survivors(world.space, world.sample(10, 1))
    fake = survivors(world.space, world.sample(10, 2))
    references, with_real, with_own, ranked = (
        twin.features(part) for part in (real[:3], real[3:7], fake[:4], real[3:])
    )
    loss = torch.zeros((), dtype=torch.float64)

    def rank(y: Tensor, others: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for u in references:
            own, *rest = (
                torch.exp(2.0 * torch.nn.functional.cosine_similarity(each, u, dim=0))
                for each in (y, *others)
            )
            total = total + own / (own + sum(rest)) / len(references)
        return total

    for y in ranked:
        loss = loss - rank(y, with_own).log() / 7
    for y in twin.features(fake):
        loss = loss - (1 - rank(y, with_real)).log() / 10
    loss.backward()
    metrics = learner.teach_discriminator(real, fake)
    assert metrics["discriminator/loss"] == pytest.approx(loss.item(), rel=1e-9)
    pairs = zip(twin.named_parameters(), learner.ranker.network.named_parameters(), strict=True)
    for (name, expected), (_, found) in pairs:
        if not name.startswith("out."):
            assert expected.grad.abs().max() > 1e-9
            torch.testing.assert_close(found.grad, expected.grad, rtol=1e-6, atol=1e-10)


def test_the_policy_gradient_is_that_of_the_expected_rank(world):
    """By enumeration: action values are means of R over all completions, as the policy types."""
    torch.manual_seed(1)
    ranker = Ranker(world.space, SMALL).double().eval()
    real = survivors(world.space, world.sample(7, 0))
    ranker.compare_with(real[:3], real[3:])
    with torch.no_grad():
        ranks = ranker(world.everything)
    policy = world.policy(2)
    log_probs = policy.score(world.everything, {"log_probs"}).log_probs_BT
    assert log_probs is not None
    p = log_probs.sum(1).exp()
    values = torch.stack(
        [
            ((p * ranks).view(V**kept, -1).sum(1) / p.view(V**kept, -1).sum(1)).repeat_interleave(
                V ** (T - kept)
            )
            for kept in range(1, T + 1)
        ],
        dim=1,
    ).detach()
    loss = -(values * p.detach().unsqueeze(1) * log_probs).sum()
    weight = policy.head.weight
    found = torch.autograd.grad(loss, weight, retain_graph=True)[0]
    expected = torch.autograd.grad(-(p * ranks).sum(), weight)[0]
    assert expected.abs().max() > 1e-4
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-14)


def test_against_a_ranker_that_stands_it_types_what_ranks_highest(world):
    """Rollouts judged as they are in a run: by a copy that takes what is published."""
    learner = make(
        world,
        32,
        discriminator_updates=0,
        discriminator_lr=0.0,
        generator_lr=0.1,
        baseline="batch",
        completions=4,
    )
    data = world.sample(32, 0)
    policy = learner.policy

    def collected(update: int) -> Trajectories:
        judge = Ranker(world.space, SMALL).eval()
        judge.load_state_dict(learner.published()["reward"].state_dict())
        demand = learner.demand(update)
        request = Request(
            seed_of(0, update),
            0,
            demand.rollouts,
            paid=demand.paid,
            completions=demand.completions,
        )
        return Sampler(policy, judge, judge=judge).sample(request)

    found = []
    for update in range(60):
        found.append(learner.update(data, collected(update)).get("generator/value", 0.0))
    with torch.no_grad():
        ranks = learner.ranker.eval()(world.everything)
        mean = float((world.probs(policy) * ranks).sum())
    real = survivors(world.space, data)
    assert learner.ranker.references.lists() == real[:3].lists()
    assert found[1] < float(ranks.mean() + ranks.std())
    assert mean > float(ranks.topk(3).values.min())
