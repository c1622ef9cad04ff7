"""Maximum likelihood: the baseline every other learner is read against.

    L = -(1 / number of actions) sum_b sum_t log p(a_t | s_t)

The mean is over actions, `<eos>` included, padding excluded. Source: SeqGAN's pre-training (Yu et
al. 2017), whose code uses Adam with learning rate 0.01 and clips the global gradient norm at 5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from rubout.learner import Context, Learner
from rubout.policy import Policy
from rubout.types import Trajectories


@dataclass(frozen=True)
class MLEConfig:
    """Options of maximum likelihood."""

    lr: float = 0.005
    """Adam's learning rate."""
    weight_decay: float = 0.0
    """Adam's L2 penalty."""
    clip: float = 5.0
    """Largest global gradient norm; 0: no clipping."""
    lr_warmup: int = 0
    """Updates over which the learning rate rises to `lr`: transformers want some."""
    lr_decay: int = 0
    """Updates over which it then falls to 0 along a cosine; 0: it stays."""

    def __post_init__(self) -> None:
        if min(self.lr, self.weight_decay, self.clip) < 0:
            raise ValueError(
                "learner.lr, learner.weight-decay and learner.clip must not be negative"
            )
        if min(self.lr_warmup, self.lr_decay) < 0:
            raise ValueError("learner.lr-warmup and learner.lr-decay must not be negative")


def schedule(optimizer: Optimizer, config: MLEConfig) -> None:
    """Set the learning rate for the optimiser's next step.

    The number of steps is Adam's own count, so that a resumed run goes on where it was.
    """
    if not (config.lr_warmup or config.lr_decay):
        return
    states = list(optimizer.state.values())
    done = int(states[0]["step"]) if states else 0
    share = min(1.0, (done + 1) / (config.lr_warmup + 1))
    if config.lr_decay:
        fallen = min(1.0, max(0, done - config.lr_warmup) / config.lr_decay)
        share *= (1 + math.cos(math.pi * fallen)) / 2
    for group in optimizer.param_groups:
        group["lr"] = config.lr * share


def weighted_nll(
    log_probs_BT: Tensor, num_actions_B: Tensor, weights_B: Tensor, total_actions: Tensor
) -> Tensor:
    """Negative log-likelihood per action, each sequence weighted.

    Args:
        log_probs_BT: float32 [B, T], 0 on padding.
        num_actions_B: int64 [B].
        weights_B: float32 [B], mean 1 over the group's batch; constants.
        total_actions: scalar, actions in the group's batch.

    Returns:
        scalar: this learner's part of the group's loss. Equal weights give the mean over actions.
    """
    assert log_probs_BT.ndim == 2
    assert num_actions_B.shape == weights_B.shape == log_probs_BT.shape[:1]
    return -(weights_B * log_probs_BT.sum(1)).sum() / total_actions


def nll_of(policy: Policy, data: Trajectories, weights_B: Tensor, total_actions: Tensor) -> Tensor:
    """`weighted_nll` of what a policy gives action logs, with its gradients taken on the way.

    Args:
        policy: scores the logs.
        data: B logs.
        weights_B: see `weighted_nll`.
        total_actions: see `weighted_nll`.

    Returns:
        scalar.
    """
    weights_B1 = -(weights_B / total_actions).unsqueeze(1)
    loss, _ = policy.weighted_log_likelihood(data, weights_B1.expand_as(data.actions_BT))
    return loss


class MLE(Learner):
    """See the module."""

    Config = MLEConfig

    def __init__(self, policy: Policy, config: MLEConfig, context: Context) -> None:
        super().__init__(policy, context)
        self.config = config
        self.optimizer = torch.optim.Adam(
            policy.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )

    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        """See `Learner.update`; rollouts are not used."""
        del rollouts
        total = self.context.group.sum(data.num_actions_B.sum())
        loss = nll_of(self.policy, data, torch.ones(len(data), device=total.device), total)
        schedule(self.optimizer, self.config)
        norm = self.step(loss, self.optimizer, self.policy.parameters(), self.config.clip)
        return {"loss": float(self.context.group.sum(loss)), "gradient_norm": norm}

    def optimizers(self) -> dict[str, Optimizer]:
        """See `Learner.optimizers`."""
        return {"policy": self.optimizer}
