"""SeqGAN: the policy gradient of a discriminator's verdict, by Monte-Carlo completions.

Source: Yu et al., "SeqGAN: Sequence Generative Adversarial Nets with Policy Gradient" (AAAI 2017).
With D the probability that a finished sequence is real,

    max_theta  J = E_{x ~ G}[ D(x) ],
    grad J = E sum_t Q(s_t, a_t) grad log G(a_t | s_t),
    Q(s_t, a_t) = mean of D over N completions of the prefix that ends with a_t; D(x) at the end.

The completions are typed by the generator itself and judged where they are typed.

Deviations. The paper's rollout policy lags behind the generator; in its code it never does, and
here it does not. The loss is a sum over batch and time, as in the code, which divides by neither;
with the gradient's norm clipped and Adam its scale hardly matters. No baseline by default.
A `--reward` of the user's is added to D with weights 1 - share and share (ORGAN, Guimaraes et al.
2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from learners.adversarial import Adversarial, AdversarialConfig
from rubout.discriminators import Discriminator, SequenceNetwork
from rubout.learner import Demand, Judge
from rubout.options import to_dict
from rubout.types import Trajectories


@dataclass(frozen=True)
class SeqGANConfig(AdversarialConfig):
    """Options of SeqGAN."""

    completions: int = 16
    """N: Monte-Carlo completions of every prefix."""
    baseline: Literal["none", "batch"] = "none"
    """Taken from the action values: nothing, or the mean of the other sequences' at that step."""
    discriminator_share: float = 0.5
    """Weight of the discriminator where --reward names another reward, whose weight is the rest."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.completions < 1:
            raise ValueError("learner.completions must be at least 1")
        if not 0 <= self.discriminator_share <= 1:
            raise ValueError("learner.discriminator-share must be between 0 and 1")


def mean_of_others(values_BT: Tensor, sums_2T: Tensor) -> Tensor:
    """At each step the mean over the group's other sequences that have one there.

    Args:
        values_BT: float32 [B, T].
        sums_2T: [2, T], the group's sums of values and of sequences at each step.

    Returns:
        float32 [B, T]; where there is no other, 0. The expected gradient is what it was: nothing
        here depends on the sequence itself. On padding any value.
    """
    total_T, count_T = sums_2T
    others_BT = (total_T - values_BT) / (count_T - 1).clamp(min=1)
    return torch.where(count_T > 1, others_BT, 0.0)


class SeqGAN(Adversarial):
    """See the module."""

    Config = SeqGANConfig
    config: SeqGANConfig
    uses_rewards = True

    def build_discriminator(self) -> SequenceNetwork:
        """See `Adversarial.build_discriminator`."""
        self.reward = Discriminator(self.context.space, self.config.discriminator)
        return self.reward.network

    def judge(self) -> Judge:
        """See `Learner.judge`: the discriminator."""
        config = self.config
        name = f"{Discriminator.__module__}:{Discriminator.__name__}"
        return Judge(name, to_dict(config.discriminator), config.discriminator_share)

    def published(self) -> dict[str, nn.Module]:
        """See `Learner.published`."""
        return {"policy": self.policy, "reward": self.reward}

    def generator_demand(self) -> Demand:
        """See `Adversarial.generator_demand`."""
        return Demand(rollouts=self.context.batch_size, completions=self.config.completions)

    def teach_generator(self, data: Trajectories, rollouts: Trajectories) -> dict[str, float]:
        """One step along the policy gradient."""
        del data
        values_BT = rollouts.action_values_BT
        assert values_BT is not None
        mask_BT = rollouts.mask_BT
        advantages_BT = values_BT - self._baseline(values_BT, mask_BT)
        loss, log_probs_BT = self.policy.weighted_log_likelihood(rollouts, -advantages_BT)
        norm = self.step_generator(loss)
        sums = [values_BT.sum(), mask_BT.sum(), advantages_BT.abs().mul(mask_BT).sum()]
        sums += [advantages_BT.square().mul(mask_BT).sum(), -log_probs_BT.sum()]
        total, count, size, squares, surprise = self.context.group.sum(
            torch.stack([value.double() for value in sums])
        ).tolist()
        return {
            "generator/value": total / count,
            # Of the weights of log-probabilities: how many of the actions carry the gradient.
            "generator/ess": size**2 / max(squares, 1e-30) / count,
            "generator/entropy": surprise / count,
            "generator/gradient_norm": norm,
        }

    def _baseline(self, values_BT: Tensor, mask_BT: Tensor) -> Tensor:
        if self.config.baseline == "none":
            return torch.zeros_like(values_BT)
        steps = values_BT.shape[1]
        sums_2T = values_BT.new_zeros(2, self.context.space.action_limit)
        sums_2T[0, :steps] = (values_BT * mask_BT).sum(0)
        sums_2T[1, :steps] = mask_BT.sum(0)
        return mean_of_others(values_BT, self.context.group.sum(sums_2T)[:, :steps])
