"""How far a policy is from the truth p, where p can be asked for probabilities.

With G the policy at its temperature, x a sequence of p (the test data) and y one of G's own:

    KL(p||G) = E_x[log p(x) - log G(x)]        what G leaves out
    KL(G||p) = E_y[log G(y) - log p(y)]        what G makes up
    JSD      = 1/2 E_x[log p(x) - log m(x)] + 1/2 E_y[log G(y) - log m(y)],   m = (p + G) / 2

each a mean of exact terms, without bias. All three are 0 where G is p and nowhere else; the sum
NLL_oracle + NLL_test, which papers print, has its minimum at another G.

A policy with a backspace has them not: what it leaves of a sequence can be typed in many ways, and
G(x) is the sum over them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rubout.evaluation.estimate import Estimate, Ratio, per_action
from rubout.evaluation.nll import log_likelihoods
from rubout.policy import Policy
from rubout.tape import survivors, written
from rubout.types import ActionSpace, Trajectories

TITLES = {
    "nll_oracle": ("NLL oracle", "of samples under the truth: quality"),
    "entropy": ("entropy", "of the policy, by its samples"),
    "kl_forward": ("KL(p||G)", "nats per action; 0 at the truth alone"),
    "kl_reverse": ("KL(G||p)", "nats per action; 0 at the truth alone"),
    "jsd": ("JSD", "nats per sequence, at most log 2"),
}
"""By figure: what a reader calls it, and what it is."""


def under_truth(oracle: Policy, space: ActionSpace, drawn: Trajectories) -> tuple[Tensor, Tensor]:
    """What was left of some samples, under the truth.

    Args:
        oracle: the truth.
        space: of the policy that typed them.
        drawn: the samples, on the CPU.

    Returns:
        log p of each, float64 [B], and its actions, int64 [B].
    """
    text = written(oracle.space, survivors(space, drawn))
    return log_likelihoods(oracle, text), text.num_actions_B


def nll_oracle(oracle: Policy, space: ActionSpace, drawn: Trajectories) -> Estimate:
    """Mean NLL per action of what was left of some samples, under the truth: see `under_truth`."""
    log_p_B, num_actions_B = under_truth(oracle, space, drawn)
    return per_action(-log_p_B, num_actions_B)


def figures(
    policy: Policy,
    oracle: Policy,
    drawn: Trajectories,
    test: Trajectories,
    temperature: float = 1.0,
) -> dict[str, Estimate]:
    """Every figure of `TITLES`; NLL_oracle alone for a policy with a backspace.

    Args:
        policy: G.
        oracle: p, of the same tokens.
        drawn: samples of G at the temperature, on the CPU, with their log-probabilities.
        test: samples of p, on the CPU.
        temperature: of G.

    Returns:
        in nats per action, but the JSD, which is in nats per sequence.
    """
    p_of_drawn_B, num_actions_B = under_truth(oracle, policy.space, drawn)
    found = {"nll_oracle": per_action(-p_of_drawn_B, num_actions_B)}
    if policy.space.backspace:
        return found
    g_of_drawn_B = torch.where(drawn.mask_BT, drawn.log_probs_BT, 0.0).double().sum(1)
    p_of_test_B = log_likelihoods(oracle, test)
    g_of_test_B = log_likelihoods(policy, test, temperature=temperature)
    found["entropy"] = per_action(-g_of_drawn_B, num_actions_B)
    found["kl_forward"] = per_action(p_of_test_B - g_of_test_B, test.num_actions_B)
    found["kl_reverse"] = per_action(g_of_drawn_B - p_of_drawn_B, num_actions_B)
    found["jsd"] = Estimate.of(
        (_to_mixture(p_of_test_B, g_of_test_B),), (_to_mixture(g_of_drawn_B, p_of_drawn_B),)
    )
    return found


def _to_mixture(own_B: Tensor, other_B: Tensor) -> Ratio:
    """Half the mean of log own - log((own + other) / 2)."""
    values_B = own_B - torch.logaddexp(own_B, other_B) + math.log(2)
    return Ratio(values_B, torch.ones_like(values_B), 0.5)
