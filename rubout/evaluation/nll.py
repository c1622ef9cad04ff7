"""Negative log-likelihood with its standard error, in nats per action."""

from __future__ import annotations

import torch
from torch import Tensor

from rubout.evaluation.estimate import Estimate, per_action
from rubout.policy import Policy
from rubout.types import Trajectories


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


def nll(
    policy: Policy, trajectories: Trajectories, batch_size: int = 256, temperature: float = 1.0
) -> Estimate:
    """Mean negative log-likelihood per action, `<eos>` included, padding excluded, in nats."""
    totals = -log_likelihoods(policy, trajectories, batch_size, temperature)
    return per_action(totals, trajectories.num_actions_B.cpu())
