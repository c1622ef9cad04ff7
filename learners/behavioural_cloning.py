"""Behavioural cloning with a backspace: maximum likelihood of an expert who takes slips back.

    L = -(1 / number of actions) sum_b sum_t log p(label_t | s_t)

Data show a slip now and then (`rubout.noise`), so that the policy learns when to rub out. Source:
the baseline "MLE + <bkspc>" of SequenceMatch (Cundy and Ermon, ICLR 2024), whose noise rate 0.001
is the default; that this is what its eta means is our reading. By default the environment slips,
so the label of a slip is what was meant there; `--learner.noise.blame expert` is the other reading.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from learners.mle import MLE, MLEConfig
from rubout.learner import Context, Demand
from rubout.noise import Noise
from rubout.policy import Policy

DEFAULT_RATE = 0.001


@dataclass(frozen=True)
class NoiseConfig:
    """Slips in the expert's data."""

    rate: float | None = None
    """Probability that an action slips (default: 0.001 with a backspace, 0 without)."""
    kind: Literal["random", "plausible"] = "random"
    """A slip types any token, or one that the task holds for plausible."""
    blame: Literal["environment", "expert"] = "environment"
    """Whose slips they are: the label of one is what was meant, or the wrong token itself."""

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 <= self.rate <= 1:
            raise ValueError(f"learner.noise.rate must be between 0 and 1, not {self.rate}")

    def of(self, backspace: bool) -> Noise:
        """What a learner demands.

        Raises:
            ValueError: there is noise and no backspace to take it back.
        """
        if self.rate and not backspace:
            raise ValueError(
                "learner.noise.rate needs --env.backspace: without it no slip is taken back"
            )
        rate = self.rate if self.rate is not None else DEFAULT_RATE * backspace
        return Noise(rate, self.kind, self.blame)


@dataclass(frozen=True)
class BehaviouralCloningConfig(MLEConfig):
    """Options of behavioural cloning."""

    noise: NoiseConfig = field(default_factory=NoiseConfig)
    """Slips that the environment injects and the expert takes back."""


class BehaviouralCloning(MLE):
    """See the module."""

    Config = BehaviouralCloningConfig

    def __init__(self, policy: Policy, config: BehaviouralCloningConfig, context: Context) -> None:
        if not context.space.backspace:
            raise ValueError(
                "behavioural_cloning needs --env.backspace: without it, it is the learner mle"
            )
        super().__init__(policy, config, context)
        self.noise = config.noise.of(backspace=True)

    def demand(self, update: int) -> Demand:
        """Expert data with slips."""
        del update
        return Demand(noise=self.noise)
