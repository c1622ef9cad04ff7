"""MaliGAN: maximum likelihood on the generator's own samples, weighted by the discriminator.

Source: Che et al., "Maximum-Likelihood Augmented Discrete Generative Adversarial Networks" (2017,
arXiv:1702.07983). With D the probability that a finished sequence is real and p' the generator as
it stands,

    q(x) proportional to r(x) p'(x),    r = D / (1 - D)

is p_data wherever D is right, and the generator ascends E_q[ log p ]. From m samples of p',

    grad = sum_i ( r(x_i) / sum_j r(x_j) - b / m ) grad log p(x_i),

whose expectation is the same for every baseline b, since that of grad log p is 0.

With a prefix (sequential training mixed with maximum likelihood) every real sequence x_i keeps its
first N actions, the generator types n continuations x_ij of them, and weights are normalised over
those alone:

    grad = 1/m sum_i [ grad log p(x_i, first N)
                       + sum_j ( r(x_ij) / sum_k r(x_ik) - b / n ) grad log p(x_ij, after N) ].

N falls in steps to 0. What r says of the prefix itself cancels in the normalisation, so that D is
trained on whole samples alone.

Deviations. The logit is clamped to +-10. Both terms of the mixed gradient carry the 1/m that the
divergence gives them. At least the last action of a real sequence is always left to the generator.
With N = 0 weights are normalised over the whole batch. `--learner.weights probability` takes D in
the place of r, as Texygen's code does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from learners.adversarial import (
    Adversarial,
    AdversarialConfig,
    generator_updates_before,
    phase,
)
from rubout.learner import Demand
from rubout.tape import survivors
from rubout.types import Trajectories

Weights = Literal["ratio", "probability"]
_LARGEST_LOGIT = 10.0


@dataclass(frozen=True)
class MaliGANConfig(AdversarialConfig):
    """Options of MaliGAN."""

    weights: Weights = "ratio"
    """What weighs a sample: D / (1 - D), or D itself."""
    baseline: float = 1.0
    """b: how much of the mean weight is taken off, 0 to 1."""
    baseline_updates: int = 100
    """Updates of the generator over which b rises from 0; 0: it is there at once."""
    prefix_start: int = 0
    """N at first: so many actions of real sequences begin the generator's; 0: none ever do."""
    prefix_step: int = 1
    """By how much N falls."""
    prefix_updates: int = 5
    """Updates of the generator after which it does."""
    continuations: int = 8
    """n: samples for each real sequence where `prefix_start` is not 0; else there is one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.baseline <= 1:
            raise ValueError(f"learner.baseline must be between 0 and 1, not {self.baseline}")
        if min(self.baseline_updates, self.prefix_start) < 0:
            raise ValueError(
                "learner.baseline-updates and learner.prefix-start must not be negative"
            )
        if min(self.prefix_step, self.prefix_updates) < 1:
            raise ValueError("learner.prefix-step and learner.prefix-updates must be at least 1")
        if self.continuations < 2:
            raise ValueError(
                "learner.continuations must be at least 2: the weight of a single one is always 1"
            )


def prefix_length(config: MaliGANConfig, number: int) -> int:
    """N at the generator's update `number` (from 0)."""
    return max(0, config.prefix_start - config.prefix_step * (number // config.prefix_updates))


def baseline(config: MaliGANConfig, number: int) -> float:
    """The baseline b at the generator's update `number` (from 0)."""
    if number >= config.baseline_updates:
        return config.baseline
    return config.baseline * number / config.baseline_updates


def unnormalised_weights(logits_B: Tensor, weights: Weights) -> Tensor:
    """D / (1 - D), or D, from the discriminator's logits [B], clamped; positive."""
    logits_B = logits_B.clamp(-_LARGEST_LOGIT, _LARGEST_LOGIT)
    return logits_B.exp() if weights == "ratio" else torch.sigmoid(logits_B)


def maligan_weights(
    weights_B: Tensor, prefixes_B: Tensor, b: float, total: Tensor, num_actions: int
) -> Tensor:
    """The weights of log-probabilities in the loss whose gradient is minus MaliGAN's.

    Args:
        weights_B: float32 [B], with mean 1 over those that are normalised together; constants.
        prefixes_B: int64 [B], how many of the first actions are a real sequence's: their weight
            is 1.
        b: how much of the mean weight is taken off after the prefix.
        total: scalar, sequences of the group.
        num_actions: T.

    Returns:
        float32 [B, T]; with them, sum log p is this learner's part of the group's loss.
    """
    assert weights_B.shape == prefixes_B.shape
    steps = torch.arange(num_actions, device=weights_B.device)
    real_BT = steps < prefixes_B.unsqueeze(1)
    return -torch.where(real_BT, 1.0, (weights_B - b).unsqueeze(1)) / total


class MaliGAN(Adversarial):
    """See the module."""

    Config = MaliGANConfig
    config: MaliGANConfig

    def generator_demand(self) -> Demand:
        """See `Adversarial.generator_demand`."""
        each = self.config.continuations if self.config.prefix_start else 1
        return Demand(rollouts=self.context.batch_size * each, paid=False)

    def demand(self, update: int) -> Demand:
        """See `Adversarial.demand`; how a generator's rollouts begin follows from its number."""
        demand = super().demand(update)
        if phase(self.config, update) != "generator":
            return demand
        number = generator_updates_before(self.config, update)
        return replace(demand, prefix=prefix_length(self.config, number))

    def teach_generator(self, data: Trajectories, rollouts: Trajectories) -> dict[str, float]:
        """One step along MaliGAN's gradient."""
        number = generator_updates_before(self.config, self.updates - 1)
        b, most = baseline(self.config, number), prefix_length(self.config, number)
        total = self._total(torch.ones_like(rollouts.num_actions_B))
        each = self.config.continuations if most else int(total)
        # As the rollouts were begun: row by row, and never all of a real sequence.
        prefixes_B = torch.zeros_like(rollouts.num_actions_B)
        if most:
            prefixes_B = (data.num_actions_B - 1).clamp(max=most).repeat_interleave(each)
        ratios_B = self._ratios(rollouts)
        shares_B = ratios_B / self._over_siblings(ratios_B, each)
        num_actions = rollouts.actions_BT.shape[1]
        weights_BT = maligan_weights(each * shares_B, prefixes_B, b, total, num_actions)
        loss, log_probs_BT = self.policy.weighted_log_likelihood(rollouts, weights_BT)
        norm = self.step_generator(loss)
        effective_B = 1 / self._over_siblings(shares_B.square(), each)
        metrics = {
            # E[ D / (1 - D) ] over the generator's samples is 1 where D is right.
            "weights/mean": float(self._total(ratios_B) / total),
            "weights/ess": float(self._total(effective_B) / total / each),
            "weights/baseline": b,
            "generator/gradient_norm": norm,
        }
        return metrics | self._surprise(log_probs_BT, rollouts, prefixes_B, most)

    @torch.no_grad()
    def _ratios(self, rollouts: Trajectories) -> Tensor:
        self.discriminator.eval()
        logits_B = self.discriminator(survivors(self.context.space, rollouts))
        return unnormalised_weights(logits_B, self.config.weights)

    def _over_siblings(self, values_B: Tensor, each: int) -> Tensor:
        """For every row the sum over those it is normalised with: `each` in a row, or all."""
        if len(values_B) * self.context.group.size == each:
            return self.context.group.sum(values_B.sum()).expand_as(values_B)
        return values_B.view(-1, each).sum(1).repeat_interleave(each)

    def _surprise(
        self, log_probs_BT: Tensor, rollouts: Trajectories, prefixes_B: Tensor, most: int
    ) -> dict[str, float]:
        """What an action cost, in nats: of the generator's own, and of the prefixes'."""
        steps = torch.arange(log_probs_BT.shape[1], device=log_probs_BT.device)
        real_BT = steps < prefixes_B.unsqueeze(1)
        given = self._total(prefixes_B)
        typed = self._total(rollouts.num_actions_B) - given
        found = {"generator/entropy": -float(self._total(log_probs_BT * ~real_BT) / typed)}
        if not self.config.prefix_start:
            return found
        nll = -float(self._total(log_probs_BT * real_BT) / given.clamp(min=1))
        return found | {"generator/prefix": most, "generator/nll_prefix": nll}

    def _total(self, values: Tensor) -> Tensor:
        return self.context.group.sum(values.sum())
