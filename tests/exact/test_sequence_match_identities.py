"""The telescoped loss of SequenceMatch is the saddle point of its paper, to rounding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learners.divergences import DIVERGENCES
from learners.sequence_match import (
    SequenceMatch,
    SequenceMatchConfig,
    implied_rewards,
    penalties,
)
from rubout.learner import Alone, Context
from rubout.types import Trajectories
from tests.exact.saddle import DATA, FORMS, GAMMA, ROLLOUTS, SPACE, by_hand, lin, saddle, table, val
from tests.exact.tabular import TabularPolicy


def scored(policy: TabularPolicy, logs: Trajectories, terminal: str, shift: float = 0.0):
    scores = policy.score(logs, {"log_probs", "values"})
    found = implied_rewards(
        scores.log_probs_BT, scores.values_BS, logs, GAMMA, terminal, shift=shift
    )
    return scores, found


def telescoped(policy, name: str, alpha: float, terminal: str, shift: float = 0.0) -> Tensor:
    """The same as the learner's parts have it."""
    scores, found = scored(policy, DATA, terminal, shift)
    nll_B = -(found.weights_BT * scores.log_probs_BT).sum(1)
    penalty_B = penalties(found, DIVERGENCES[name], alpha, GAMMA)
    if name != "chi2-mixture":
        return (nll_B + penalty_B).mean()
    _, typed = scored(policy, ROLLOUTS, terminal, shift)
    both_B = (penalty_B + penalties(typed, DIVERGENCES[name], alpha, GAMMA)) / 2
    return (nll_B + both_B).mean()


def learner_of(policy: TabularPolicy, name: str, terminal: str, alpha: float) -> SequenceMatch:
    config = SequenceMatchConfig(
        divergence=name, alpha=alpha, gamma=GAMMA, terminal=terminal, bc_updates=0,
        anneal_updates=0, beta=0.0, sample_every=1, capacity=1, stride=1, clip=0.0,
    )  # fmt: skip
    return SequenceMatch(policy, config, Context(SPACE, 40, torch.device("cpu"), Alone()))


def test_the_logs_are_of_every_kind():
    assert DATA.terminated_B.any()
    assert not DATA.terminated_B.all()
    assert DATA.num_actions_B.unique().numel() > 5
    assert (DATA.actions_BT == SPACE.backspace_id).any()


@pytest.mark.parametrize("shift", [0.0, 7.5])
@pytest.mark.parametrize("terminal", ["zero", "eos"])
def test_values_telescope(terminal, shift):
    """sum_t w_t (V(s_t) - gamma V(s_{t+1})) + gamma^N V_N = V(s_0), whatever the logits."""
    policy = table()
    scores, found = scored(policy, DATA, terminal, shift)
    steps_B = (found.weights_BT * (found.x_BT - scores.log_probs_BT)).sum(1)
    last_B = torch.where(
        found.tail_B > 0, found.tail_B * (1 - GAMMA), GAMMA ** DATA.num_actions_B.double()
    )
    value_B = steps_B + last_B * found.final_B
    torch.testing.assert_close(value_B, scores.values_BS[:, 0] + shift, rtol=0, atol=1e-12)
    hand_B = torch.stack([val(part) for part in by_hand(policy, DATA, terminal, shift)])
    torch.testing.assert_close(hand_B, value_B, rtol=0, atol=1e-12)
    has_tail_B = DATA.terminated_B & (terminal == "eos")
    assert (found.tail_B > 0).equal(has_tail_B)
    if terminal == "zero":
        assert not found.final_B[DATA.terminated_B].any()


@pytest.mark.parametrize(("name", "terminal"), FORMS)
def test_the_telescoped_loss_is_the_saddle_point(name, terminal):
    """Also on a batch of several lengths, with logs that were cut off among them."""
    policy, alpha = table(), 0.02
    shift = 1 / (alpha * (1 - GAMMA)) if name == "forward-kl" else 0.0
    ours = telescoped(policy, name, alpha, terminal, shift)
    theirs = saddle(policy, name, alpha, terminal, shift)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    (one,) = torch.autograd.grad(ours, policy.head.weight)
    (other,) = torch.autograd.grad(theirs, policy.head.weight)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("name", "terminal"), FORMS)
def test_the_learner_takes_a_step_on_this_loss(name, terminal):
    """Its shift included, divided by the weights of the batch's actions (their sum is float32)."""
    policy, alpha = table(), 0.02
    learner = learner_of(policy, name, terminal, alpha)
    with torch.no_grad():
        before = policy.head.weight.clone()
    found = learner.update(DATA, ROLLOUTS)
    gradient = policy.head.weight.grad.clone()
    with torch.no_grad():
        policy.head.weight.copy_(before)
    total = sum(part.weights.sum() for part in by_hand(policy, DATA, terminal)) / len(DATA)
    wanted = saddle(policy, name, alpha, terminal, learner.state()["shift"]) / total
    assert found["loss"] == pytest.approx(wanted.item(), rel=3e-7)
    (wanted_gradient,) = torch.autograd.grad(wanted, policy.head.weight)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-6, atol=1e-10)


def test_without_entropy_it_is_likelihood():
    """alpha = 1e-9: J is E_data[sum_t w_t log pi]."""
    policy = table()
    scores, found = scored(policy, DATA, "eos")
    likelihood = (found.weights_BT * scores.log_probs_BT).sum(1).mean()
    for name in ("chi2", "chi2-mixture", "reverse-kl", "hellinger"):
        ours = telescoped(policy, name, 1e-9, "eos")
        torch.testing.assert_close(-ours, likelihood, rtol=0, atol=1e-6)
    theirs = saddle(policy, "chi2", 1e-9, "eos")
    torch.testing.assert_close(-theirs, likelihood, rtol=0, atol=1e-6)


@pytest.mark.parametrize("terminal", ["zero", "eos"])
def test_a_constant_added_to_all_logits_moves_only_the_penalty(terminal):
    """LIN + VAL stays; x moves by (1 - gamma) b, or, before a V of 0, by b."""
    policy, linear = table(), lambda r: r

    def parts(shift):
        hand = by_hand(policy, DATA, terminal, shift)
        return torch.stack([lin(p, linear, 1.0, terminal) + val(p) for p in hand]), hand

    still, moved = parts(0.0), parts(50.0)
    torch.testing.assert_close(still[0], moved[0], rtol=0, atol=1e-11)
    _, found = scored(policy, DATA, terminal, 50.0)
    for row, part in enumerate(moved[1]):
        x = found.x_BT[row, : len(part.x)]
        torch.testing.assert_close(x, part.x, rtol=0, atol=1e-12)
        by = torch.full_like(x, 50 * (1 - GAMMA))
        if part.ended and terminal == "zero":
            by[-1] = 50
        torch.testing.assert_close(x - still[1][row].x, by, rtol=0, atol=1e-12)
