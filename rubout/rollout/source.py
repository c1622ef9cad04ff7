"""Where the training loop gets its rollouts, whoever generates them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import nn

from rubout.options import build_policy, build_reward
from rubout.policy import Policy
from rubout.rollout.rewards import RewardSpec, WeightedSum
from rubout.rollout.sampler import Request, Sampler
from rubout.task import Codec
from rubout.types import ActionSpace, Trajectories


@dataclass(frozen=True)
class RolloutSpec:
    """All that an actor needs to make its sampler; names are resolved where it runs.

    Attributes:
        policy: short name or module:Class.
        policy_options: of its Config.
        space: the actions.
        reward: the run's own, or None.
        judge: the learner's, whose weights it publishes, or None.
        codec: text and ids, for rewards that read text.
        step_penalty: per action.
        device: where the sampler runs.
        threads: torch threads of an actor.
        batch: most sequences generated at a time; a larger draw is split, the same way everywhere.
    """

    policy: str
    policy_options: Mapping[str, Any]
    space: ActionSpace
    reward: RewardSpec | None = None
    judge: RewardSpec | None = None
    codec: Codec | None = None
    step_penalty: float = 0.0
    device: str = "cpu"
    threads: int = 1
    batch: int = 64

    def sampler(self, policy: Policy | None = None) -> Sampler:
        """A sampler of this policy, or of a fresh one."""
        if policy is None:
            policy = build_policy(self.policy, self.policy_options, self.space).to(self.device)
        rewards = [
            (build_reward(spec.name, spec.options, self.space, self.codec), spec.share)
            for spec in (self.judge, self.reward)
            if spec is not None
        ]
        for reward, _ in rewards:
            if isinstance(reward, nn.Module):
                reward.to(self.device).eval()
        judge: Any = rewards[0][0] if self.judge else None
        total = WeightedSum(rewards) if rewards else None
        return Sampler(policy, total, self.step_penalty, self.device, judge)


@dataclass
class Losses:
    """What went wrong while generating, and was made good.

    Attributes:
        requests: lost with their actor and generated again.
        restarts: actors that died.
        reasons: how often each kind of error was seen.
    """

    requests: int = 0
    restarts: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


def receivers(sampler: Sampler, published: Mapping[str, object]) -> dict[str, nn.Module]:
    """Which module of a sampler takes each of the published ones.

    Raises:
        ValueError: there is none for one of them.
    """
    parts = sampler.parts()
    for name in published:
        if name not in parts:
            raise ValueError(f"the learner publishes {name!r}, and a sampler has only {[*parts]}")
    return {name: parts[name] for name in published}


class RolloutSource(Protocol):
    """Generates on request; the loop publishes, asks ahead, and collects in order."""

    losses: Losses

    def publish(self, version: int, modules: Mapping[str, nn.Module]) -> None:
        """Requests made from now on are answered under these weights."""

    def request(self, update: int, request: Request) -> None:
        """Ask for the rollouts of an update under the version last published."""

    def collect(self, update: int) -> Trajectories:
        """Wait for what was asked for; the order within is that of the request."""

    def restore(self, update: int, rollouts: Trajectories) -> None:
        """Take rollouts of an update that were generated before an interruption."""

    def close(self) -> None:
        """Give everything back."""


class LocalRollouts:
    """Generates in this process, at the moment of the request."""

    def __init__(self, spec: RolloutSpec, policy: Policy) -> None:
        self.losses = Losses()
        self._spec = spec
        self._sampler = spec.sampler(policy)
        self._version = 0
        self._ready: dict[int, Trajectories] = {}

    def publish(self, version: int, modules: Mapping[str, nn.Module]) -> None:
        """See `RolloutSource.publish`; the policy is the learner's own."""
        for name, receiver in receivers(self._sampler, modules).items():
            if receiver is not modules[name]:
                receiver.load_state_dict(modules[name].state_dict())
        self._version = version

    def request(self, update: int, request: Request) -> None:
        """See `RolloutSource.request`."""
        self._ready[update] = self._sampler.sample_in_batches(
            request, self._spec.batch, self._version
        )

    def collect(self, update: int) -> Trajectories:
        """See `RolloutSource.collect`."""
        return self._ready.pop(update)

    def restore(self, update: int, rollouts: Trajectories) -> None:
        """See `RolloutSource.restore`."""
        self._ready[update] = rollouts

    def close(self) -> None:
        """See `RolloutSource.close`."""
