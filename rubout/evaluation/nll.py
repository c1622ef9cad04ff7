"""Negative log-likelihood with its standard error, in nats per action."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from rubout.evaluation.estimate import Estimate, per_action
from rubout.policy import Policy
from rubout.types import Trajectories

_ELEMENTS = {"cpu": 2**18, "cuda": 2**26}
"""Logits at a time: on a CPU few enough to stay in its cache while they are multiplied."""
_EXACT_EVERY = 16
"""Products in a row, whose rounding errors add up, between exponentials."""


@torch.no_grad()
def log_probs(
    policy: Policy, trajectories: Trajectories, batch_size: int = 256, temperature: float = 1.0
) -> Tensor:
    """The log-probability of each action, float32 [B, T], on the CPU; dropout off."""
    device = next(policy.parameters()).device
    training = policy.training
    policy.eval()
    parts = []
    for first in range(0, len(trajectories), batch_size):
        batch = trajectories[first : first + batch_size].to(device)
        scores = policy.score(batch, {"log_probs"}, temperature).log_probs_BT
        assert scores is not None
        parts.append(scores.cpu())
    policy.train(training)
    return torch.cat(parts)


def log_likelihoods(
    policy: Policy, trajectories: Trajectories, batch_size: int = 256, temperature: float = 1.0
) -> Tensor:
    """The log-probability of each action log, float64 [B], on the CPU; dropout off."""
    scores_BT = log_probs(policy, trajectories, batch_size, temperature)
    return scores_BT.sum(1, dtype=torch.float64)


@torch.no_grad()
def log_likelihoods_at(
    policy: Policy, trajectories: Trajectories, multipliers: Sequence[float]
) -> Tensor:
    """What `log_likelihoods` gives at many temperatures, in one pass of the policy.

    The logits are made once. With x a state's, shifted to a largest of 0, and m a multiplier,
    sum exp(m x) is that of the multiplier before times exp(step x), element by element, so that
    equal steps take one product an element instead of one exponential.

    Args:
        policy: on any device.
        trajectories: on the CPU.
        multipliers: K of them, 1 / T, positive, in any order.

    Returns:
        float64 [K, B], on the CPU.
    """
    device = next(policy.parameters()).device
    training = policy.training
    policy.eval()
    steps, actions = trajectories.actions_BT.shape[1], policy.space.size
    size = max(1, _ELEMENTS.get(device.type, 2**24) // (steps * actions))
    found_KB = torch.zeros(len(multipliers), len(trajectories), dtype=torch.float64)
    for first in range(0, len(trajectories), size):
        batch = trajectories[first : first + size].to(device)
        log_softmax_BTA = policy.score(batch, {"log_softmax"}).log_softmax_BTA
        assert log_softmax_BTA is not None
        mask_BT = batch.mask_BT
        chosen_KM = _at(log_softmax_BTA[mask_BT], batch.labels_BT[mask_BT], multipliers)
        chosen_KBT = torch.zeros(len(multipliers), *mask_BT.shape, device=device)
        chosen_KBT[:, mask_BT] = chosen_KM
        found_KB[:, first : first + size] = chosen_KBT.sum(2, dtype=torch.float64).cpu()
    policy.train(training)
    return found_KB


def _at(logits_MA: Tensor, labels_M: Tensor, multipliers: Sequence[float]) -> Tensor:
    """The log-probability of each label at each multiplier, float32 [K, M]; see above."""
    logits_MA = logits_MA - logits_MA.amax(1, keepdim=True)
    labels_M = logits_MA.gather(1, labels_M.unsqueeze(1)).squeeze(1)
    powers_MA = factor_MA = logits_MA
    found: dict[float, Tensor] = {}
    last, last_step = 0.0, math.nan
    for number, multiplier in enumerate(sorted(set(multipliers))):
        step = multiplier - last
        if number % _EXACT_EVERY == 0:
            powers_MA = torch.exp(logits_MA * multiplier)
        else:
            if not math.isclose(step, last_step, rel_tol=1e-9):
                factor_MA, last_step = torch.exp(logits_MA * step), step
            powers_MA.mul_(factor_MA)
        last = multiplier
        found[multiplier] = multiplier * labels_M - powers_MA.sum(1).log_()
    return torch.stack([found[multiplier] for multiplier in multipliers])


def nll(
    policy: Policy, trajectories: Trajectories, batch_size: int = 256, temperature: float = 1.0
) -> Estimate:
    """Mean negative log-likelihood per action, `<eos>` included, padding excluded, in nats."""
    totals = -log_likelihoods(policy, trajectories, batch_size, temperature)
    return per_action(totals, trajectories.num_actions_B.cpu())
