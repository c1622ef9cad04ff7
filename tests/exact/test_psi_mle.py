"""psi-MLE where everything can be enumerated: the ratio is p / q, the fixed point is p_data."""

from __future__ import annotations

import pytest
import torch

from learners.mle import weighted_nll
from learners.psi_mle import PsiMLE, PsiMLEConfig, bregman_loss, mixture_weights, to_ratio
from rubout.learner import Alone, Context
from rubout.rollout.draw import seed_of
from rubout.rollout.sampler import Request, Sampler

FORMS = [
    ("logistic", "exp"),
    ("quadratic", "exp"),
    ("quadratic", "free"),
    ("softplus", "exp"),
    ("softplus", "free"),
]
MIXTURES = [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(("bregman", "ratio"), FORMS)
def test_the_minimiser_of_the_bregman_loss_is_the_ratio(world, bregman, ratio):
    # Ratios from about 0.2 to 5: beyond that the softplus f is flat to rounding.
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(64, generator=generator, dtype=torch.float64)
    q = torch.softmax(world.p_data.log() + 0.6 * noise, 0)
    truth = world.p_data / q
    outputs = torch.zeros(64, dtype=torch.float64, requires_grad=True)
    # Adam comes near (the loss is not convex in s = log r for every f), L-BFGS to the digits.
    near = torch.optim.Adam([outputs], lr=0.02)
    optimizer = torch.optim.LBFGS(
        [outputs], max_iter=2000, tolerance_grad=1e-12, tolerance_change=1e-16, history_size=50,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        optimizer.zero_grad()
        terms_q, terms_p = bregman_loss(outputs, outputs, bregman, ratio)
        loss = (q * terms_q).sum() + (world.p_data * terms_p).sum()
        loss.backward()
        return loss

    for _ in range(500):
        near.step(closure)
    optimizer.step(closure)
    assert truth.max() > 3
    assert truth.min() < 0.35
    torch.testing.assert_close(to_ratio(outputs.detach(), ratio), truth, rtol=1e-3, atol=1e-3)


def test_logistic_terms_are_the_bregman_terms_of_its_f():
    # f(t) = t log t - (1+t) log(1+t): f'(r) r - f(r) = log(1+r), f'(r) = log(r / (1+r)).
    s = torch.linspace(-5, 5, 21, dtype=torch.float64)
    r = s.exp()
    terms_q, terms_p = bregman_loss(s, s, "logistic", "exp")
    torch.testing.assert_close(terms_q, torch.log1p(r), rtol=1e-12, atol=0)
    torch.testing.assert_close(terms_p, -torch.log(r / (1 + r)), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("weight", ["bounded", "mix", "raw"])
def test_with_exact_ratios_the_gradient_is_that_of_maximum_likelihood(world, mixture, weight):
    if weight == "raw":
        mixture = 0.0  # p_data / p_theta is the weight only where the mixture is p_theta
    policy = world.policy(2)
    p_theta = world.probs(policy)
    p_mix = mixture * world.p_data + (1 - mixture) * p_theta.detach()
    ratios = world.p_data / (p_mix if weight == "mix" else p_theta.detach())
    weights = mixture_weights(ratios, mixture, weight)
    torch.testing.assert_close(weights, world.p_data / p_mix, rtol=1e-12, atol=0)

    def gradient(masses):
        policy.zero_grad()
        log_probs = policy.score(world.everything, {"log_probs"}).log_probs_BT
        loss = weighted_nll(log_probs, world.everything.num_actions_B, masses, torch.tensor(3.0))
        loss.backward()
        return policy.head.weight.grad.clone()

    torch.testing.assert_close(
        gradient(p_mix * weights), gradient(world.p_data), rtol=1e-10, atol=1e-14
    )


@pytest.mark.parametrize("mixture", MIXTURES)
def test_the_fixed_point_is_the_data(world, mixture):
    policy = world.policy(3)
    optimizer = torch.optim.Adam([policy.head.weight], lr=0.1)
    for step in range(1000):
        p_theta = world.probs(policy).detach()
        p_mix = mixture * world.p_data + (1 - mixture) * p_theta
        weights = mixture_weights(world.p_data / p_theta, mixture, "bounded")
        log_probs = policy.score(world.everything, {"log_probs"}).log_probs_BT
        loss = weighted_nll(
            log_probs, world.everything.num_actions_B, p_mix * weights, torch.tensor(3.0)
        )
        optimizer.param_groups[0]["lr"] = 0.3 * 0.985**step
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (world.probs(policy) - world.p_data).abs().max() < 1e-5


@pytest.mark.parametrize("mixture", [0.0, 0.5, 1.0])
def test_the_learner_itself_comes_close_by_sampling(world, mixture):
    """Fresh samples, an estimated ratio: KL(p_data || p_theta) ends far below where it began."""
    policy = world.policy(4).float()
    config = PsiMLEConfig(
        lr=0.01, mixture=mixture, mle_updates=50, warmup=50, ratio_lr=0.003, bregman="logistic"
    )
    context = Context(world.space, 256, torch.device("cpu"), Alone())
    torch.manual_seed(0)
    learner = PsiMLE(policy, config, context)
    sampler = Sampler(policy)

    def divergence():
        with torch.no_grad():
            return float((world.p_data * (world.p_data / world.probs(policy)).log()).sum())

    before = divergence()
    for update in range(250):
        count = learner.demand(update).rollouts
        rollouts = sampler.sample(Request(seed_of(0, update), 0, count)) if count else None
        learner.update(world.sample(256, update), rollouts)
    assert before > 0.5
    assert divergence() < 0.02
