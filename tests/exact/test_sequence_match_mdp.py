"""SequenceMatch on texts of up to two letters, with a backspace: everything by linear algebra.

The saddle point (Cundy and Ermon 2024, after IQ-Learn, Garg et al. 2021): the loss is minimal where
rho_pi = rho_data phi'(alpha x), and alpha times its negative is the least value that
D_f(rho_pi || rho_data) - alpha H(pi) takes over all policies, the absorbing states counted.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.divergences import DIVERGENCES
from rubout.types import ActionSpace
from tests.exact.solvers import equilibrium, minimise, settle
from tests.exact.tabular import TabularPolicy, Typing

GAMMA = 0.9
WORLD = Typing(ActionSpace(2, 2, backspace=True), GAMMA)
SIZES = WORLD.legal_nA.sum(1).tolist()


def expert() -> Tensor:
    """A policy of full support, [n, A]."""
    rng = np.random.default_rng(0)
    probs_nA = torch.zeros(WORLD.legal_nA.shape, dtype=torch.float64)
    for state, size in enumerate(SIZES):
        draws = torch.from_numpy(rng.random(size) + 0.1)
        probs_nA[state, WORLD.legal_nA[state]] = draws / draws.sum()
    return probs_nA


EXPERT = expert()
DATA_K = WORLD.visits(EXPERT)

# f of t = rho_pi / rho_data, and phi'(r)
FORMS = {
    "chi2": (lambda t: (t - 1).square(), lambda r: 1 - r / 2),
    "reverse-kl": (lambda t: t * t.log() - t + 1, lambda r: (-r).exp()),
    "jensen-shannon": (
        lambda t: t * t.log() - (t + 1) * ((t + 1) / 2).log(),
        lambda r: (-r).exp() / (2 - (-r).exp()),
    ),
    "hellinger": (lambda t: (t.sqrt() - 1).square(), lambda r: (1 + r) ** -2),
}


def optimum(divergence: str, alpha: float) -> tuple[TabularPolicy, float]:
    """The table at the minimum of the loss, and the minimum."""
    policy = TabularPolicy(WORLD.space).double()
    start = torch.zeros_like(policy.head.weight)
    start[:, : len(EXPERT)] = EXPERT.log().clamp(min=-5).T

    def loss():
        return WORLD.loss(policy, DATA_K, DATA_K, DIVERGENCES[divergence], alpha)

    settle(policy, loss, start)
    return policy, loss().item()


def test_the_world_is_what_it_says():
    """Seven texts, 19 actions, 7 absorbing states; occupancies sum to 1, of any policy."""
    assert len(WORLD.texts) == 7
    assert len(DATA_K) == 19
    rho = WORLD.occupancy(DATA_K)
    assert float(rho.sum()) == pytest.approx(1, abs=1e-14)
    assert float(rho.min()) > 0


@pytest.mark.parametrize("seed", range(3))
def test_values_telescope_under_any_occupancy(seed):
    """E_rho[V(s) - gamma V(s')] = (1 - gamma) V(s_0), rho of one policy and V of another."""
    torch.manual_seed(seed)
    policy = TabularPolicy(WORLD.space).double()
    with torch.no_grad():
        policy.head.weight.mul_(4)
    log_probs_K, _ = WORLD.score(policy)
    differences = WORLD.rewards(policy) - torch.cat([log_probs_K, torch.zeros(7)])
    start = policy.head.weight[: SIZES[0], 0].logsumexp(0)
    for probs_nA in (EXPERT, WORLD.probs(policy)):
        mean = (WORLD.occupancy(WORLD.visits(probs_nA)) * differences).sum()
        torch.testing.assert_close(mean, (1 - GAMMA) * start, rtol=0, atol=1e-12)


@pytest.mark.parametrize("alpha", [0.1, 1.0])
@pytest.mark.parametrize("divergence", FORMS)
def test_the_saddle_point(divergence, alpha):
    policy, least = optimum(divergence, alpha)
    f, slope = FORMS[divergence]
    rho_data = WORLD.occupancy(DATA_K)
    rho = WORLD.occupancy(WORLD.visits(WORLD.probs(policy)))
    wanted = rho_data * slope(alpha * WORLD.rewards(policy).detach())
    assert float((rho - wanted).abs().max()) < 1e-9

    def direct(logits_K):
        logits_nA = torch.full(EXPERT.shape, -torch.inf, dtype=torch.float64)
        logits_nA = logits_nA.index_put((WORLD.states_K, WORLD.actions_K), logits_K)
        log_probs_K = logits_nA.log_softmax(1)[WORLD.states_K, WORLD.actions_K]
        rho = WORLD.occupancy(WORLD.visits(logits_nA.softmax(1)))
        entropy = -(rho[: len(DATA_K)] * log_probs_K).sum()
        return (rho_data * f(rho / rho_data)).sum() - alpha * entropy

    found = minimise(direct, EXPERT[WORLD.states_K, WORLD.actions_K].log())
    assert -alpha * (1 - GAMMA) * least == pytest.approx(direct(found).item(), abs=1e-12)


def test_how_far_chi2_goes_from_the_data():
    """To the entropy's side, in proportion to alpha as long as it is small."""
    far = [float((WORLD.probs(optimum("chi2", a)[0]) - EXPERT).abs().max()) for a in (0.01, 0.1, 1)]
    assert far == pytest.approx([0.002, 0.020, 0.143], abs=5e-4)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 10.0])
def test_the_mixture_settles_where_rewards_are_bounded(alpha):
    """rho_data - rho_pi = alpha/4 (rho_data + rho_pi) x, so |alpha x| <= 4 (LS-IQ)."""
    policy = TabularPolicy(WORLD.space).double()
    equilibrium(WORLD, policy, DATA_K, alpha)
    visits_K = WORLD.visits(WORLD.probs(policy))
    x = WORLD.rewards(policy).detach()
    one, other = WORLD.occupancy(DATA_K), WORLD.occupancy(visits_K)
    torch.testing.assert_close(one - other, alpha / 4 * (one + other) * x, rtol=0, atol=1e-12)
    assert float((alpha * x).abs().max()) <= 4
    assert WORLD.unbalance(policy, DATA_K, alpha) < 1e-9

    policy.head.weight.data[:, 0] += torch.tensor([0.01, 0.0, 0.0, 0.0])
    assert WORLD.unbalance(policy, DATA_K, alpha) > 1e-4


def one_text() -> Tensor:
    """Visits of an expert who types 0, 0, `<eos>`."""
    probs_nA = WORLD.legal_nA.double() / WORLD.legal_nA.sum(1, keepdim=True)
    for text, action in zip(SEEN, (0, 0, WORLD.space.eos_id), strict=True):
        probs_nA[WORLD.texts.index(text)] = torch.eye(4, dtype=torch.float64)[action]
    return WORLD.visits(probs_nA)


SEEN = [(), (0,), (0, 0)]
UNSEEN = [text for text in WORLD.texts if text not in SEEN]


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_a_backspace_that_nobody_showed(alpha):
    """The data never rub out; in equilibrium the policy does, where the data never go.

    There every action earns -4 / alpha, so the shortest way back is best. Where data go, so does
    the backspace: p(<backspace> | s) = exp(-4 / alpha + gamma V(before) - V(s)).
    """
    data_K, policy = one_text(), TabularPolicy(WORLD.space).double()
    equilibrium(WORLD, policy, data_K, alpha)
    assert WORLD.unbalance(policy, data_K, alpha) < 1e-8
    share_n = WORLD.probs(policy)[:, WORLD.space.backspace_id]
    values_n = WORLD.logits(policy).logsumexp(1)
    for text in UNSEEN:
        assert float(share_n[WORLD.texts.index(text)]) > 0.95, text
    for text in SEEN[1:]:
        state, before = WORLD.texts.index(text), WORLD.texts.index(text[:-1])
        wanted = math.exp(-4 / alpha + GAMMA * values_n[before] - values_n[state])
        assert float(share_n[state]) == pytest.approx(wanted, rel=1e-8)
        assert float(share_n[state]) <= 0.02, text


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_with_a_value_of_zero_after_the_end_to_end_is_as_good(alpha):
    """One absorbing state for all texts costs nothing: p(<backspace>) / p(<eos>) = e^(gamma V).

    V is that of the state before, the entropy of what the expert still has to say: here next to
    nothing, so that half of what should be rubbed out is handed in.
    """
    data_K, policy = one_text(), TabularPolicy(WORLD.space).double()
    equilibrium(WORLD, policy, data_K, alpha, "zero")
    assert WORLD.unbalance(policy, data_K, alpha, "zero") < 1e-8
    logits_nA = WORLD.logits(policy)
    values_n = logits_nA.logsumexp(1)
    for text in UNSEEN:
        ended, rubbed = logits_nA[WORLD.texts.index(text), [WORLD.space.eos_id, -1]].tolist()
        assert ended == pytest.approx(-4 / alpha, abs=1e-9)
        before = float(values_n[WORLD.texts.index(text[:-1])])
        assert rubbed - ended == pytest.approx(GAMMA * before, abs=1e-9)
    share = float(logits_nA.softmax(1)[WORLD.texts.index((0, 1)), -1])
    assert 0.49 < share < 0.55
