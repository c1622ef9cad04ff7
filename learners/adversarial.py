"""What the learners with a discriminator share: its own updates, and the order of all updates.

An update of the run is one of three: maximum likelihood, a step of the discriminator, or a step of
the generator. Which one is a function of the update's number alone:

    mle_updates          maximum likelihood
    discriminator_warmup the discriminator, until the generator's first step
                         (in pretraining_rounds turns of the one and the other)
    then, in rounds      generator_updates, discriminator_updates, mle_per_round

Source: SeqGAN (Yu et al. 2017), Algorithm 1, whose loop it is; the discriminator maximises
E_data[log D] + E_G[log(1 - D)], with the code's penalty on the output layer. Deviation: the
code draws as many fakes as there are data and goes through both three times; here every
update draws a batch of fakes, and takes `discriminator_steps` steps on it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from learners.mle import MLE, MLEConfig
from rubout.discriminators import DiscriminatorConfig, SequenceNetwork, build
from rubout.learner import Context, Demand
from rubout.policy import Policy
from rubout.tape import survivors
from rubout.types import Sequences, Trajectories

Phase = Literal["mle", "discriminator", "generator"]


@dataclass(frozen=True)
class RoundsConfig(MLEConfig):
    """Options of learners with any discriminator; `lr` is that of maximum likelihood."""

    mle_updates: int = 500
    """Updates of maximum likelihood before all else."""
    discriminator_warmup: int = 200
    """Updates of the discriminator before the generator's first."""
    pretraining_rounds: int = 1
    """In how many turns of the one and then the other those updates are made."""
    generator_updates: int = 1
    """Updates of the generator in a round."""
    discriminator_updates: int = 5
    """Updates of the discriminator in a round."""
    mle_per_round: int = 0
    """Updates of maximum likelihood in a round."""
    generator_lr: float = 0.01
    """Adam's learning rate in the generator's own updates; its moments are their own as well."""
    discriminator_lr: float = 0.0001
    """Adam's learning rate for the discriminator."""
    discriminator_steps: int = 3
    """Steps of the discriminator on each batch of real and fake sequences."""
    discriminator_l2: float = 0.2
    """Penalty on half the squares of the discriminator's output layer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.mle_updates, self.discriminator_warmup, self.mle_per_round) < 0:
            raise ValueError(
                "learner.mle-updates, learner.discriminator-warmup and learner.mle-per-round "
                "must not be negative"
            )
        if min(self.generator_updates, self.discriminator_steps, self.pretraining_rounds) < 1:
            raise ValueError(
                "learner.generator-updates, learner.discriminator-steps and "
                "learner.pretraining-rounds must be at least 1"
            )
        if self.discriminator_updates < 0:
            raise ValueError("learner.discriminator-updates must not be negative")
        if min(self.generator_lr, self.discriminator_lr, self.discriminator_l2) < 0:
            raise ValueError(
                "learner.generator-lr, learner.discriminator-lr and learner.discriminator-l2 "
                "must not be negative"
            )


@dataclass(frozen=True)
class AdversarialConfig(RoundsConfig):
    """Options of learners with a discriminator of their own."""

    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """The discriminator."""


def phase(config: RoundsConfig, update: int) -> Phase:
    """What update number `update` (from 0) trains."""
    place = update - config.mle_updates - config.discriminator_warmup
    if place < 0:
        return _pretraining(config, update)
    before_mle = config.generator_updates + config.discriminator_updates
    place %= before_mle + config.mle_per_round
    if place < config.generator_updates:
        return "generator"
    return "discriminator" if place < before_mle else "mle"


def _pretraining(config: RoundsConfig, update: int) -> Phase:
    """The turns share the updates of either kind as evenly as whole numbers do."""
    turns = config.pretraining_rounds
    for turn in range(turns):
        update -= (turn + 1) * config.mle_updates // turns - turn * config.mle_updates // turns
        if update < 0:
            return "mle"
        warmup = config.discriminator_warmup
        update -= (turn + 1) * warmup // turns - turn * warmup // turns
        if update < 0:
            break
    return "discriminator"


def generator_updates_before(config: RoundsConfig, update: int) -> int:
    """How many of the updates before number `update` (from 0) train the generator."""
    after = max(0, update - config.mle_updates - config.discriminator_warmup)
    whole = config.generator_updates + config.discriminator_updates + config.mle_per_round
    rounds, place = divmod(after, whole)
    return rounds * config.generator_updates + min(place, config.generator_updates)


def discriminator_loss(real_B: Tensor, fake_C: Tensor, count: Tensor) -> Tensor:
    """Binary cross-entropy.

    Args:
        real_B: float32 [B], logits of real sequences.
        fake_C: float32 [C], logits of the policy's.
        count: scalar, real and fake sequences of the group.

    Returns:
        scalar: this learner's part of the group's mean.
    """
    assert real_B.ndim == fake_C.ndim == 1
    return (functional.softplus(-real_B).sum() + functional.softplus(fake_C).sum()) / count


class Adversarial(MLE):
    """See the module."""

    Config: ClassVar[type[RoundsConfig]] = AdversarialConfig
    config: RoundsConfig
    uses_rollouts = True
    max_staleness = 0
    stands_for_run = "last"

    def __init__(self, policy: Policy, config: RoundsConfig, context: Context) -> None:
        super().__init__(policy, config, context)
        self.discriminator = self.build_discriminator().to(context.device)
        self.generator_optimizer = torch.optim.Adam(
            [parameter for parameter in policy.parameters() if parameter.requires_grad],
            lr=config.generator_lr,
            fused=True,
        )
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=config.discriminator_lr, fused=True
        )
        self.updates = 0

    def build_discriminator(self) -> SequenceNetwork:
        """The network that is trained to tell real from fake."""
        assert isinstance(self.config, AdversarialConfig)
        space = self.context.space
        return build(space.num_tokens, space.max_length, self.config.discriminator)

    @abstractmethod
    def generator_demand(self) -> Demand:
        """What a generator's update consumes."""

    @abstractmethod
    def teach_generator(self, data: Trajectories, rollouts: Trajectories) -> dict[str, float]:
        """One update of the generator."""

    def demand(self, update: int) -> Demand:
        """Nothing for maximum likelihood, a fake for each real sequence for the discriminator."""
        kind = phase(self.config, update)
        if kind == "generator":
            return self.generator_demand()
        if kind == "mle":
            return Demand()
        return Demand(rollouts=self.context.batch_size, paid=False)

    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        """See `Learner.update`."""
        kind = phase(self.config, self.updates)
        self.updates += 1
        if rollouts is None:
            return self.teach_by_likelihood(data)
        if kind == "generator":
            return self.teach_generator(data, rollouts)
        space = self.context.space
        real, fake = survivors(space, data), survivors(space, rollouts)
        metrics: dict[str, float] = {}
        for _ in range(self.config.discriminator_steps):
            metrics = self.teach_discriminator(real, fake)
        return metrics

    def teach_by_likelihood(self, data: Trajectories) -> dict[str, float]:
        """One update of maximum likelihood."""
        return super().update(data, None)

    def teach_discriminator(self, real: Sequences, fake: Sequences) -> dict[str, float]:
        """One step on real sequences and the policy's."""
        group = self.context.group
        self.discriminator.train()
        logits = self.discriminator(Sequences.cat([real, fake]))
        on_real, on_fake = logits[: len(real)], logits[len(real) :]
        count = group.sum(torch.tensor(float(len(logits)), device=logits.device))
        loss = discriminator_loss(on_real, on_fake, count)
        norm = self.step_discriminator(loss)
        right = (on_real > 0).sum() + (on_fake <= 0).sum()
        return {
            "discriminator/loss": float(group.sum(loss)),
            "discriminator/accuracy": float(group.sum(right.float()) / count),
            "discriminator/gradient_norm": norm,
        }

    def step_discriminator(self, loss: Tensor) -> float:
        """Add the penalty, and step; the gradient's norm."""
        outer = [parameter.square().sum() for parameter in self.discriminator.out.parameters()]
        penalty = torch.stack(outer).sum() / 2
        # Each learner of the group adds its share of a penalty that belongs to no sequence.
        loss = loss + self.config.discriminator_l2 / self.context.group.size * penalty
        return self.step(
            loss, self.discriminator_optimizer, self.discriminator.parameters(), clip=0
        )

    def step_generator(self, loss: Tensor) -> float:
        """Step with the generator's own optimiser; the gradient's norm."""
        return self.step(loss, self.generator_optimizer, self.policy.parameters(), self.config.clip)

    def modules(self) -> dict[str, nn.Module]:
        """See `Learner.modules`."""
        return {"policy": self.policy, "discriminator": self.discriminator}

    def optimizers(self) -> dict[str, Optimizer]:
        """See `Learner.optimizers`."""
        return {
            "policy": self.optimizer,
            "generator": self.generator_optimizer,
            "discriminator": self.discriminator_optimizer,
        }

    def state(self) -> dict[str, float | int | str]:
        """See `Learner.state`."""
        return {"updates": self.updates}

    def load_state(self, state: Mapping[str, float | int | str]) -> None:
        """See `Learner.load_state`."""
        self.updates = int(state["updates"])
