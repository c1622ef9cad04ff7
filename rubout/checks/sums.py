"""Are a policy's weighted sums those of its scores?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from rubout.checks.common import close, need
from rubout.policy import Generation, Policy, Scores, Want
from rubout.types import Sequences, Trajectories


class _Stranger(Policy):
    """A policy of which nothing is known but that it scores as another one."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.space, self._policy = policy.space, policy

    def score(
        self, trajectories: Trajectories, want: Collection[Want], temperature: float = 1.0
    ) -> Scores:
        return self._policy.score(trajectories, want, temperature)

    def start(self, batch_size: int, prompts: Sequences | None = None) -> Generation:
        return self._policy.start(batch_size, prompts)


def check_sums(policy: Policy, logs: Trajectories) -> None:
    """Whether `weighted_log_likelihood` and `weighted_divergence` are what `score` makes of them.

    In value, in gradient and for each action, whatever the weights on padding; the divergence from
    a policy of the same kind, and from a stranger.

    Args:
        policy: on the CPU, in evaluation mode.
        logs: what is scored.
    """
    weights_BT = torch.linspace(-1.0, 2.0, logs.actions_BT.numel()).view(logs.actions_BT.shape)
    _need_same(
        [policy],
        policy.weighted_log_likelihood(logs, weights_BT),
        Policy.weighted_log_likelihood(policy, logs, weights_BT),
        "weighted_log_likelihood",
    )
    other = deepcopy(policy)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    for each in (other, _Stranger(other)):
        _need_same(
            [policy, other],
            policy.weighted_divergence(each, logs, weights_BT),
            Policy.weighted_divergence(policy, each, logs, weights_BT),
            "weighted_divergence",
        )


def _need_same(
    modules: Sequence[nn.Module], found: Sequence[Tensor], expected: Sequence[Tensor], name: str
) -> None:
    """The first of each is a sum that has a gradient in the modules, the others are constants."""
    shapes = [part.shape for part in found] == [part.shape for part in expected]
    need(shapes, f"the shapes of {name} are not those of the contract")
    have_one, need_one = ([part.requires_grad for part in each] for each in (found, expected))
    need(have_one == need_one, f"of what {name} gives the sum has a gradient, and nothing else")
    values = all(close(one, other) for one, other in zip(found, expected, strict=True))
    need(values, f"{name} is not that of the scores")
    if expected[0].requires_grad:
        one, other = (_gradient(total, modules) for total in (found[0], expected[0]))
        scale = other.abs().max().clamp(min=1.0)
        need(close(one / scale, other / scale), f"the gradient of {name} is not that of the scores")


def _gradient(total: Tensor, modules: Sequence[nn.Module]) -> Tensor:
    """Of twice the total, so that what comes after counts; 0 where there is none."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    found = torch.autograd.grad(2 * total, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in found])
