"""CoT where everything can be enumerated: the mediator's optimum, and what the generator descends.

Batches hold each sequence as often as its distribution does, so that the learner's own steps are
steps on expectations.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from learners.cot import CoT, CoTConfig
from rubout.learner import Alone, Context
from rubout.policies import linear_chunks as module
from rubout.policies.lstm import LSTMConfig
from rubout.policy import Policy
from rubout.rollout.draw import seed_of
from rubout.rollout.sampler import Request, Sampler
from rubout.types import ActionSpace, Trajectories
from tests.exact.counted import SPACES, batch, counted, everything, log_probs, prefixes, table
from tests.exact.tabular import TabularPolicy

EXACT = {"rtol": 1e-9, "atol": 1e-13}


def make(policy: TabularPolicy, mediator: TabularPolicy, **values: object) -> CoT:
    """A learner whose mediator is a table."""
    config = CoTConfig(mediator=LSTMConfig(embedding=2, hidden=2), **values)  # type: ignore[arg-type]
    learner = CoT(policy, config, Context(policy.space, 512, torch.device("cpu"), Alone()))
    learner.mediator = mediator  # type: ignore[assignment]
    learner.mediator_optimizer = torch.optim.SGD(mediator.parameters(), lr=0.0)
    return learner


def gradient(value: Tensor, policy: TabularPolicy) -> Tensor:
    return torch.autograd.grad(value, policy.head.weight)[0]


def gradient_of(learner: CoT, rollouts: Trajectories) -> Tensor:
    """Of the learner's own step, by sequence and not by action."""
    learner._teach_generator(rollouts)
    weight = learner.policy.head.weight
    assert isinstance(weight, Tensor)
    assert weight.grad is not None
    return weight.grad * rollouts.num_actions_B.sum() / len(rollouts)


def weighted_gradient(policy: TabularPolicy, mediator: TabularPolicy) -> Tensor:
    """Of what the step is made of, over all sequences, each weighted by G(x)."""
    whole = everything(policy.space)
    chances_B1 = log_probs(policy, whole).exp().detach().unsqueeze(1)
    weights_BT = chances_B1.expand(whole.actions_BT.shape)
    total, _, _ = policy.weighted_divergence(mediator, whole, weights_BT)
    return gradient(total, policy)


def by_prefix(policy: TabularPolicy, text: tuple[int, ...]) -> Tensor:
    """G( . | text )."""
    return policy.head.weight[:, policy.row(text)].softmax(0)


def chance(policy: TabularPolicy, text: tuple[int, ...]) -> float:
    return math.prod(
        float(by_prefix(policy, text[:depth])[token].detach()) for depth, token in enumerate(text)
    )


def literal_gradient(policy: TabularPolicy, mediator: TabularPolicy) -> Tensor:
    """d/dz_a of sum over prefixes of G(prefix) KL: G(prefix) g_a (log(g_a / m_a) - KL)."""
    found = torch.zeros_like(policy.head.weight)
    for text in prefixes(policy.space):
        g, m = by_prefix(policy, text).tolist(), by_prefix(mediator, text).tolist()
        kl = sum(one * math.log(one / other) for one, other in zip(g, m, strict=True))
        for action, (one, other) in enumerate(zip(g, m, strict=True)):
            slope = chance(policy, text) * one * (math.log(one / other) - kl)
            found[action, policy.row(text)] = slope
    return found


def random_table(space: ActionSpace, seed: int) -> TabularPolicy:
    torch.manual_seed(seed)
    return TabularPolicy(space).double()


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> ActionSpace:
    return SPACES[request.param]


def test_the_mediators_optimum_is_the_mixture(space: ActionSpace) -> None:
    data, generator, mediator = counted(space, 1), counted(space, 2), random_table(space, 3)
    learner = make(generator, mediator)
    real, own = batch(data), batch(generator)
    losses: list[Tensor] = []
    learner.step = lambda loss, *_: losses.append(loss) or 0.0  # type: ignore[assignment,func-returns-value]
    optimizer = torch.optim.LBFGS(
        [mediator.head.weight], max_iter=300, tolerance_grad=1e-11, tolerance_change=0,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> float:
        optimizer.zero_grad()
        learner._teach_mediator(real, own)
        losses[-1].backward()
        return float(losses[-1].detach())

    optimizer.step(closure)
    whole = everything(space)
    p, g, m = (log_probs(each, whole).exp().detach() for each in (data, generator, mediator))
    assert (p / g).log().abs().max() > 1, "the test must see what it is about"
    torch.testing.assert_close(m, (p + g) / 2, rtol=1e-5, atol=0)


def test_the_gradient_is_that_of_the_divergences_where_prefixes_are_constants(
    space: ActionSpace,
) -> None:
    policy, mediator = counted(space, 1), random_table(space, 2)
    expected = literal_gradient(policy, mediator)
    total = torch.zeros((), dtype=torch.float64)
    for text in prefixes(space):
        g, m = by_prefix(policy, text), by_prefix(mediator, text).detach()
        total = total + chance(policy, text) * (g * (g / m).log()).sum()
    torch.testing.assert_close(gradient(total, policy), expected, **EXACT)
    found = weighted_gradient(policy, mediator)
    torch.testing.assert_close(found, expected, **EXACT)
    learner = make(policy, mediator)
    torch.testing.assert_close(gradient_of(learner, batch(policy)), expected, **EXACT)
    other = random_table(space, 5)
    found = weighted_gradient(other, mediator)
    torch.testing.assert_close(found, literal_gradient(other, mediator), **EXACT)


def test_the_full_gradient_is_that_of_the_divergence_of_sequences(space: ActionSpace) -> None:
    policy, mediator, whole = counted(space, 1), random_table(space, 2), everything(space)
    own, of_mediator = log_probs(policy, whole), log_probs(mediator, whole).detach()
    expected = gradient((own.exp() * (own - of_mediator)).sum(), policy)
    part = literal_gradient(policy, mediator)
    assert (part - expected).norm() > 0.1 * expected.norm(), "the missing term is not small"
    learner = make(policy, mediator, full_gradient=True)
    torch.testing.assert_close(gradient_of(learner, batch(policy)), expected, **EXACT)


def test_at_the_mediators_optimum_it_is_that_of_twice_the_jensen_shannon_divergence(
    space: ActionSpace,
) -> None:
    """M depends on G there, but p log M + G log M is at its maximum in M."""
    data, policy, whole = counted(space, 1), counted(space, 2), everything(space)
    p, own = log_probs(data, whole).exp().detach(), log_probs(policy, whole)
    mixture = (p + own.exp()) / 2
    jsd = ((p * (p / mixture).log()).sum() + (own.exp() * (own - mixture.log())).sum()) / 2
    expected = gradient(2 * jsd, policy)
    learner = make(policy, table(space, mixture.detach()), full_gradient=True)
    torch.testing.assert_close(gradient_of(learner, batch(policy)), expected, **EXACT)


def test_the_divergence_that_is_reported(space: ActionSpace) -> None:
    """By sequence, and without half the entropy of the data: the divergence of sequences."""
    data, policy, whole = counted(space, 1), counted(space, 2), everything(space)
    p, g = (log_probs(each, whole).exp().detach() for each in (data, policy))
    mixture = (p + g) / 2
    jsd = float((p * (p / mixture).log() + g * (g / mixture).log()).sum() / 2)
    learner = make(policy, table(space, mixture))
    metrics = learner.update(batch(data), batch(policy))
    actions = float((mixture * whole.num_actions_B).sum())  # of a sequence of either kind
    entropy = float(-(p * p.log()).sum())
    assert jsd > 0.05
    assert metrics["jsd_shifted"] * actions - entropy / 2 == pytest.approx(jsd, rel=1e-6)
    assert metrics["mediator/balanced_nll"] * actions == pytest.approx(
        float(-(mixture * mixture.log()).sum()), rel=1e-6
    )
    own_actions = float((g * whole.num_actions_B).sum())
    for name, value in (("kl", (g / mixture).log()), ("entropy", -g.log())):
        assert metrics[f"generator/{name}"] * own_actions == pytest.approx(
            float((g * value).sum()), rel=1e-6
        )
    for name, weights in (("data", p), ("own", g)):
        assert metrics[f"mediator/nll_{name}"] == pytest.approx(
            float(-(weights * mixture.log()).sum() / (weights * whole.num_actions_B).sum()),
            rel=1e-6,
        )


class Plain(TabularPolicy):
    """A policy that knows no other sums than those of its scores."""

    weighted_divergence = Policy.weighted_divergence
    weighted_log_likelihood = Policy.weighted_log_likelihood


@pytest.mark.parametrize("full", [False, True])
def test_any_policy_will_do(full: bool, space: ActionSpace) -> None:
    policy, mediator, plain = counted(space, 1), random_table(space, 2), Plain(space).double()
    plain.load_state_dict(policy.state_dict())
    rollouts = batch(policy)
    learners = [make(each, mediator, full_gradient=full) for each in (policy, plain)]
    found, expected = (gradient_of(each, rollouts) for each in learners)
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("rows", [1, 7, 50])
def test_chunks_change_nothing(
    rows: int, full: bool, space: ActionSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollouts, mediator = batch(counted(space, 1))[::5], random_table(space, 2)
    rollouts = rollouts[torch.randperm(len(rollouts), generator=torch.Generator().manual_seed(0))]
    assert int(rollouts.num_actions_B.sum()) > 2 * rows

    def taught() -> Tensor:
        return gradient_of(make(counted(space, 1), mediator, full_gradient=full), rollouts)

    whole = taught()
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", {"cpu": rows * space.size})
    monkeypatch.setattr(module, "_LEAST_ROWS", 1)
    torch.testing.assert_close(taught(), whole, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("full", [False, True])
def test_the_learner_itself_comes_close_by_sampling(full: bool) -> None:
    """A mediator that learns, fresh samples: KL(p || G) ends far below where it began."""
    space = SPACES["eos"]
    data, policy, whole = counted(space, 1), counted(space, 2).float(), everything(space)
    torch.manual_seed(0)
    network = LSTMConfig(embedding=16, hidden=16, dropout=0.0)
    config = CoTConfig(
        mediator=network, lr=0.05, lr_decay=100, mediator_lr=0.02, full_gradient=full
    )
    learner = CoT(policy, config, Context(space, 128, torch.device("cpu"), Alone()))
    real = batch(data)

    def divergence() -> float:
        with torch.no_grad():
            of_data, own = log_probs(data, whole), log_probs(policy, whole)
        return float((of_data.exp() * (of_data - own)).sum())

    before = divergence()
    for update in range(100):
        rows = torch.randint(len(real), (128,), generator=torch.Generator().manual_seed(update))
        own = Sampler(policy).sample(
            Request(seed_of(0, update), 0, learner.demand(update).rollouts)
        )
        learner.update(real[rows], own)
    assert before > 0.5
    assert divergence() < before / 10
