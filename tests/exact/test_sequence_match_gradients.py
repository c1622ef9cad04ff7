"""Where SequenceMatch learns from rollouts; what discounted likelihood is; what a mean is of."""

from __future__ import annotations

import math

import pytest
import torch

from learners.mle import weighted_nll
from learners.sequence_match import SequenceMatch, SequenceMatchConfig, implied_rewards
from rubout.evaluation.references import ConstantPolicy
from rubout.learner import Alone, Context
from rubout.policy import Policy
from rubout.tape import written
from rubout.types import ActionSpace, Sequences
from tests.exact.saddle import GAMMA, ROLLOUTS, SPACE, by_hand, table, val, visited

# Text that begins with 0; the rollouts go everywhere.
DATA = written(SPACE, Sequences.of([[0, 1], [0, 2, 0], [0], [0, 0, 1, 2]] * 10))


def learner_of(policy: Policy, divergence: str, size: int, **options) -> SequenceMatch:
    config = SequenceMatchConfig(
        divergence=divergence, terminal="eos" if policy.space.eos else "zero", bc_updates=0,
        anneal_updates=0, sample_every=1, capacity=1, stride=1, clip=0.0, **options,
    )  # fmt: skip
    return SequenceMatch(policy, config, Context(policy.space, size, torch.device("cpu"), Alone()))


def rows_of(policy, logs) -> set[int]:
    """The rows of the table that these logs pass through."""
    counts = zip(logs.actions_BT.tolist(), logs.num_actions_B.tolist(), strict=True)
    return {row for actions, count in counts for row in visited(policy, actions[:count])}


@pytest.mark.parametrize("divergence", ["chi2", "chi2-mixture"])
def test_states_that_only_rollouts_visit(divergence):
    """Their gradient is exactly 0, and with the mixture it is not: only there rollouts matter."""
    policy = table()
    elsewhere = sorted(rows_of(policy, ROLLOUTS) - rows_of(policy, DATA))
    assert len(elsewhere) > 30
    before = policy.head.weight.detach().clone()
    learner = learner_of(policy, divergence, 40, alpha=0.1, gamma=GAMMA, beta=0.0)
    for _ in range(3):
        learner.update(DATA, ROLLOUTS)
    gradient = policy.head.weight.grad[:, elsewhere]
    moved = (policy.head.weight.detach() != before)[:, elsewhere]
    if divergence == "chi2":
        assert not gradient.any()
        assert not moved.any()
    else:
        assert gradient.abs().amax(0).gt(1e-6).all()
        assert moved.any(0).all()


def test_values_of_rollouts_have_no_gradient_but_at_the_start():
    """In the saddle point itself they stand; what is left of them is V(s_0)."""
    policy = table()
    values = torch.stack([val(part) for part in by_hand(policy, ROLLOUTS, "eos")]).mean()
    (gradient,) = torch.autograd.grad(values, policy.head.weight)
    assert float(gradient[:, 1:].abs().max()) < 1e-15
    assert float(gradient[:, 0].abs().max()) > 0.1


def test_discounted_likelihood_is_the_divergence_of_the_occupancies(world):
    """Without a backspace: KL(rho_data || rho_pi) = sum_t gamma^t E_data[KL_t]."""
    policy = world.policy(5)
    p, q = world.p_data.reshape(4, 4, 4), world.probs(policy).detach().reshape(4, 4, 4)

    def nll(probs):
        """-E_data[sum_t w_t log pi] of what the table of joint probabilities says."""
        texts = world.everything.actions_BT
        ones, twos = probs.sum((1, 2)), probs.sum(2)
        parts = [ones[texts[:, 0]], twos[texts[:, 0], texts[:, 1]], probs.reshape(-1)]
        steps = [parts[0], parts[1] / parts[0], parts[2] / parts[1]]
        log_probs_BT = torch.stack(steps, dim=1).log()
        values_BS = torch.zeros(64, 4, dtype=torch.float64)
        found = implied_rewards(log_probs_BT, values_BS, world.everything, GAMMA, "zero")
        return -(world.p_data * (found.weights_BT * log_probs_BT).sum(1)).sum()

    ours = policy.score(world.everything, {"log_probs"}).log_probs_BT
    torch.testing.assert_close(ours.sum(1).exp().detach(), q.reshape(-1), rtol=1e-12, atol=0)
    shares = [(1 - GAMMA), (1 - GAMMA) * GAMMA, (1 - GAMMA) * GAMMA**2, GAMMA**3]
    divergence = 0.0
    for share, depth in zip(shares, (1, 2, 3, 3), strict=True):
        over = tuple(range(depth, 3))
        one, other = (p.sum(over), q.sum(over)) if over else (p, q)
        divergence += share * float((one * (one / other).log()).sum())
    assert divergence > 0.1
    assert float(nll(q) - nll(p)) == pytest.approx(divergence, rel=1e-12)


def coin(space: ActionSpace) -> ConstantPolicy:
    """The same chance of `<eos>` everywhere, to be learnt."""
    policy = ConstantPolicy(space, torch.zeros(2)).double()
    policy.head.bias.requires_grad_(requires_grad=True)
    return policy


def set_end(policy: ConstantPolicy, probability: float) -> None:
    with torch.no_grad():
        odds = torch.tensor([1 - probability, probability], dtype=torch.float64)
        policy.head.bias.copy_(odds.log())


def test_a_mean_over_each_text_is_not_likelihood():
    """P(<eos>) = 1/2 at every place: averaged over each text's own length, it would be ln 2."""
    rows = [[0] * length for length in range(61)]
    space = ActionSpace(1, 100)
    policy = coin(space)
    texts = written(space, Sequences.of(rows))
    odds_B = 0.5 ** torch.arange(1, 62).double()

    def slope(probability, *, of_each):
        set_end(policy, probability)
        log_probs_BT = policy.score(texts, {"log_probs"}).log_probs_BT
        if of_each:
            loss = -(odds_B * log_probs_BT.sum(1) / texts.num_actions_B).sum()
        else:
            total = (odds_B * texts.num_actions_B).sum()
            loss = weighted_nll(log_probs_BT, texts.num_actions_B, odds_B, total)
        return float(torch.autograd.grad(loss, policy.head.bias)[0][1])

    assert abs(slope(math.log(2), of_each=True)) < 1e-12
    assert abs(slope(0.5, of_each=False)) < 1e-12
    assert abs(slope(0.5, of_each=True)) > 0.1


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("gamma", [0.5, 0.998])
def test_what_the_learner_divides_by_keeps_the_probability(beta, gamma):
    """The weights of the batch's actions: the minimum is at 1/2, whatever the discount."""
    longest = 8
    rows = [[0] * length for length in range(longest) for _ in range(2 ** (longest - 1 - length))]
    space = ActionSpace(1, longest)
    texts, policy = written(space, Sequences.of([*rows, [0] * longest])), coin(space)
    assert len(texts) == 2**longest
    norms = []
    for probability in (0.5, math.log(2)):
        set_end(policy, probability)
        learner = learner_of(policy, "chi2", len(texts), alpha=1e-12, gamma=gamma, beta=beta)
        norms.append(learner.update(texts, None)["gradient_norm"])
    assert norms[0] < 1e-8
    assert norms[1] > 0.1
