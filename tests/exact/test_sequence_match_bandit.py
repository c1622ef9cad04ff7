"""SequenceMatch on a choice between three actions: the optimum is known to five digits.

For the data p, J is largest where pi = p phi'(alpha x) and pi = softmax(x): with one absorbing
state for all actions, whose V is free, the best V there is the one of the neutral reward.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learners.divergences import DIVERGENCES
from learners.sequence_match import Terminal, implied_rewards, penalties
from rubout.tape import written
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.exact.solvers import minimise, settle
from tests.exact.tabular import TabularPolicy

P = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
ENTROPY = float(-(P * P.log()).sum())
DIGITS = 5.1e-6  # half a unit of the last digit given

# What a sequence of one token ends by is the full tape: V = 0 after any.
SHARED = ActionSpace(3, 1, eos=False)
CHOICES = written(SHARED, Sequences.of([[0], [1], [2]]))
# Two tokens or `<eos>` at once: an absorbing state for each of the three.
SEPARATE = ActionSpace(2, 1)
TEXTS = written(SEPARATE, Sequences.of([[0], [1], []]))


def loss(
    policy: TabularPolicy,
    logs: Trajectories,
    divergence: str,
    alpha: float,
    gamma: float = 0.9,
    terminal: Terminal = "zero",
    rollouts_B: Tensor | None = None,
) -> Tensor:
    """E_data[ -log pi ] + the penalty under the data, or half of it under rollouts."""
    scores = policy.score(logs, {"log_probs", "values"})
    assert scores.log_probs_BT is not None
    assert scores.values_BS is not None
    rewards = implied_rewards(scores.log_probs_BT, scores.values_BS, logs, gamma, terminal)
    penalty_B = penalties(rewards, DIVERGENCES[divergence], alpha, gamma)
    penalised_B = P if rollouts_B is None else (P + rollouts_B) / 2
    nll_B = -(rewards.weights_BT * scores.log_probs_BT).sum(1)
    return (P * nll_B).sum() + (penalised_B * penalty_B).sum()


def optimum(divergence: str, alpha: float) -> tuple[Tensor, Tensor]:
    """pi and x at the minimum, one absorbing state for all."""
    policy = TabularPolicy(SHARED).double()
    start = torch.zeros_like(policy.head.weight)
    start[:, 0] = 1 / alpha if divergence == "forward-kl" else P.log()
    settle(policy, lambda: loss(policy, CHOICES, divergence, alpha), start)
    x = policy.head.weight.detach()[:, 0]
    return x.softmax(0), x


def close(found: Tensor, digits: tuple[float, ...]) -> None:
    torch.testing.assert_close(found, torch.tensor(digits).to(found), rtol=0, atol=DIGITS)


@pytest.mark.parametrize(
    ("alpha", "digits"),
    [
        (0.01, (0.69845, 0.20080, 0.10075)),
        (0.1, (0.68515, 0.20769, 0.10716)),
        (1.0, (0.59317, 0.25421, 0.15262)),
        (10.0, (0.40529, 0.32785, 0.26685)),
    ],
)
def test_chi2(alpha, digits):
    """pi = p (1 - alpha x / 2), and the minimum of chi2(pi || p) - alpha H(pi) itself."""
    pi, x = optimum("chi2", alpha)
    close(pi, digits)
    torch.testing.assert_close(pi, P * (1 - alpha * x / 2), rtol=0, atol=1e-12)
    assert abs(float((P * x).sum())) < 1e-11

    def direct(logits):
        probs = logits.softmax(0)
        return ((probs - P).square() / P).sum() + alpha * (probs * probs.log()).sum()

    torch.testing.assert_close(pi, minimise(direct, P.log()).softmax(0), rtol=0, atol=1e-9)


def test_chi2_with_little_entropy():
    """pi = p (1 - alpha/2 (log p + H)) + O(alpha^2); V of the start goes to the entropy of p."""
    slope = P * (P.log() + ENTROPY) / 2
    for alpha in (1e-3, 1e-4):
        pi, x = optimum("chi2", alpha)
        assert float((pi - P + alpha * slope).abs().max()) < 2 * alpha**2
        assert abs(float(x.logsumexp(0)) - ENTROPY) < alpha


@pytest.mark.parametrize(
    ("alpha", "digits"),
    [
        (0.1, (0.68493, 0.20772, 0.10735)),
        (1.0, (0.58506, 0.25407, 0.16087)),
        (10.0, (0.39207, 0.31947, 0.28847)),
    ],
)
def test_the_fixed_point_of_the_mixture(alpha, digits):
    """Rollouts of the policy itself, held constant: x = 4/alpha (p - pi) / (p + pi)."""
    policy, pi = TabularPolicy(SHARED).double(), P
    start = torch.zeros_like(policy.head.weight)
    for _ in range(60):
        held = pi
        settle(
            policy,
            lambda held=held: loss(policy, CHOICES, "chi2-mixture", alpha, rollouts_B=held),
            start,
        )
        start = policy.head.weight.detach().clone()
        pi = start[:, 0].softmax(0)
        if float((pi - held).abs().max()) < 1e-13:
            break
    close(pi, digits)
    x = 4 / alpha * (P - pi) / (P + pi)
    torch.testing.assert_close(start[:, 0], x, rtol=0, atol=1e-10)


def test_the_fixed_point_is_not_quite_the_minimum_of_the_divergence():
    """The rollouts' own dependence on the policy is left out, by all who use the mixture."""

    def direct(logits):
        pi = logits.softmax(0)
        return 2 * ((P - pi).square() / (P + pi)).sum() + (pi * pi.log()).sum()

    close(minimise(direct, P.log()).softmax(0), (0.58111, 0.25323, 0.16567))


@pytest.mark.parametrize(
    ("alpha", "digits"), [(0.1, (0.67083, 0.21479, 0.11438)), (1.0, (0.52288, 0.27949, 0.19763))]
)
def test_reverse_kl(alpha, digits):
    """In closed form: pi is p to the power of 1 / (1 + alpha)."""
    pi, _ = optimum("reverse-kl", alpha)
    close(pi, digits)
    closed = P ** (1 / (1 + alpha))
    torch.testing.assert_close(pi, closed / closed.sum(), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("alpha", "digits"), [(0.01, (0.69689, 0.20160, 0.10150)), (0.1, (0.67004, 0.21483, 0.11513))]
)
def test_forward_kl(alpha, digits):
    """pi alpha x = p, of positive x."""
    pi, x = optimum("forward-kl", alpha)
    close(pi, digits)
    assert float(x.min()) > 0
    torch.testing.assert_close(pi * alpha * x, P, rtol=0, atol=1e-12)


@pytest.mark.parametrize("divergence", ["chi2", "reverse-kl", "jensen-shannon", "hellinger"])
@pytest.mark.parametrize("gamma", [0.9, 0.998])
def test_a_terminal_of_its_own_for_every_text_divides_the_entropy(divergence, gamma):
    """alpha (1 - gamma) takes the place of alpha, however long the texts are."""
    alpha = 0.1 / (1 - gamma)
    policy = TabularPolicy(SEPARATE).double()
    start = torch.zeros_like(policy.head.weight)
    settle(policy, lambda: loss(policy, TEXTS, divergence, alpha, gamma, "eos"), start)
    pi = policy.head.weight.detach()[:, 0].softmax(0)
    if divergence == "chi2":
        close(pi, (0.68515, 0.20769, 0.10716))
    torch.testing.assert_close(pi, optimum(divergence, 0.1)[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("divergence", ["chi2", "reverse-kl", "forward-kl"])
def test_the_value_of_one_terminal_for_all_is_neutral(divergence):
    """V free, but shared: alpha (1 - gamma) V comes to the neutral reward; pi is as with V = 0."""
    alpha, gamma, neutral = 0.1, 0.9, DIVERGENCES[divergence].neutral

    def of(values):
        logits, end = values[:3], values[3] + neutral / (alpha * (1 - gamma))
        start = logits.logsumexp(0)
        values_BS = torch.stack([start.expand(3), end.expand(3)], dim=1)
        found = implied_rewards(
            (logits - start).unsqueeze(1), values_BS, CHOICES, gamma, "eos", shift=0.0
        )
        penalty_B = penalties(found, DIVERGENCES[divergence], alpha, gamma)
        return (P * (start - logits + penalty_B)).sum()

    begin = torch.cat([P.log() + neutral / (alpha * (1 - gamma)), torch.ones(1).double()])
    found = minimise(of, begin)
    assert abs(float(found[3])) < 1e-8
    torch.testing.assert_close(
        found[:3].softmax(0), optimum(divergence, alpha)[0], rtol=0, atol=1e-9
    )
