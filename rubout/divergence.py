"""The contract of a divergence: what SequenceMatch penalises in the rewards of a policy.

A divergence is given by a concave phi with slope 1 at one point, its neutral reward r0. Maximising
E_data[phi(r)] - E_model[r] over rewards r gives D_f(model || data) with f*(-r) = -phi(r), and at
the optimum phi'(r) = model / data (Garg et al. 2021, IQ-Learn, section 4; Cundy and Ermon 2024,
section 3). What the loss needs is how far phi falls behind its tangent there, the penalty

    g(r) = (r - phi(r)) - (r0 - phi(r0)) >= 0,   g(r0) = g'(r0) = 0

because the linear part of phi makes up the likelihood. One's own is a `Divergence` in one's own
file, named as `--learner.divergence my_module:my_divergence`.

Some phi are defined for large enough rewards only, or fall off so fast that one unlikely token
would be the whole gradient. Below `lowest` the penalty goes on as a straight line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Divergence:
    """One of them.

    Attributes:
        penalty: g, of rewards of any shape; smooth and convex above `lowest`.
        neutral: r0.
        lowest: where the straight line begins; -inf: nowhere.
        mixture: the penalty is averaged over data and rollouts, not over data alone.
    """

    penalty: Callable[[Tensor], Tensor]
    neutral: float = 0.0
    lowest: float = -math.inf
    mixture: bool = False

    def __call__(self, rewards: Tensor) -> Tensor:
        """g(r), continued below `lowest`; same shape, differentiable."""
        if self.lowest == -math.inf:
            return self.penalty(rewards)
        edge = torch.tensor(self.lowest, dtype=torch.float64)
        slope = float(torch.func.grad(lambda r: self.penalty(r))(edge))
        inside = rewards.clamp(min=self.lowest)
        return self.penalty(inside) + slope * (rewards - inside)
