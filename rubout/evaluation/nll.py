"""Negative log-likelihood with its standard error, in nats per action."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from rubout.policy import Policy
from rubout.types import Trajectories


@dataclass(frozen=True)
class Estimate:
    """A mean and how well it is known.

    Attributes:
        mean: of all.
        standard_error: over sequences.
        count: sequences.
    """

    mean: float
    standard_error: float
    count: int


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


def per_action(totals_B: Tensor, num_actions_B: Tensor) -> Estimate:
    """The mean per action of a quantity summed over each sequence.

    The mean is a ratio of sums; its standard error is that of a ratio (delta method), over
    sequences, which are independent where actions are not.

    Args:
        totals_B: float64 [B].
        num_actions_B: int64 [B].
    """
    count = len(totals_B)
    actions = float(num_actions_B.sum())
    mean = float(totals_B.sum()) / actions
    residuals = totals_B - mean * num_actions_B
    spread = float(residuals.square().sum()) * count / max(count - 1, 1)
    return Estimate(mean, math.sqrt(spread) / actions, count)


def mean_of(values_B: Tensor) -> Estimate:
    """The mean of independent figures, float [B]."""
    count = len(values_B)
    spread = float(values_B.double().var(correction=1)) if count > 1 else math.inf
    return Estimate(float(values_B.double().mean()), math.sqrt(spread / count), count)


def nll(
    policy: Policy, trajectories: Trajectories, batch_size: int = 256, temperature: float = 1.0
) -> Estimate:
    """Mean negative log-likelihood per action, `<eos>` included, padding excluded, in nats."""
    totals = -log_likelihoods(policy, trajectories, batch_size, temperature)
    return per_action(totals, trajectories.num_actions_B.cpu())
