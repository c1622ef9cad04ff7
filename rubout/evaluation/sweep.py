"""Quality and diversity over temperatures: the same temperature in sampling and in scoring.

Source: Caccia et al., "Language GANs Falling Short" (ICLR 2020), who multiply the logits by 1 / T.
"""

from __future__ import annotations

from dataclasses import dataclass

from rubout.evaluation.estimate import Estimate
from rubout.evaluation.evaluate import draw, nll_oracle
from rubout.evaluation.nll import nll
from rubout.policy import Policy
from rubout.task import Task
from rubout.types import Trajectories


@dataclass(frozen=True)
class SweepPoint:
    """One temperature.

    Attributes:
        multiplier: 1 / T, what the logits are multiplied by.
        nll_oracle: of samples at this temperature, under the truth: quality.
        nll_test: of test data under the policy at this temperature: diversity.
    """

    multiplier: float
    nll_oracle: Estimate
    nll_test: Estimate


def sweep(
    policy: Policy,
    task: Task,
    test: Trajectories,
    multipliers: list[float],
    num_samples: int,
    seed: int,
) -> list[SweepPoint]:
    """Score a policy at several temperatures; the task must know its oracle.

    Args:
        policy: on any device.
        task: with an oracle.
        test: the data to score.
        multipliers: 1 / T, each positive.
        num_samples: at each temperature.
        seed: of the samples; the same draws at every temperature.
    """
    points = []
    for multiplier in multipliers:
        temperature = 1.0 / multiplier
        drawn = draw(policy, num_samples, seed, temperature=temperature)
        points.append(
            SweepPoint(
                multiplier,
                nll_oracle(policy, task, drawn),
                nll(policy, test, temperature=temperature),
            )
        )
    return points
