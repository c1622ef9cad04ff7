"""The contract of a learner: how a policy is taught.

The loop that drives every learner is, in essence,

    for update in range(updates):
        data = task.batch(update)
        rollouts = fleet.collect(update)          # learner.demand(update).rollouts of them
        metrics = learner.update(data, rollouts)
        fleet.publish(update + 1, learner.published())

so a learner never knows where its data came from nor how many machines there are. Data-parallel
learners each see a part of the batch: losses are written as (local sum) / (global normaliser), the
normaliser by `group.sum`, and gradients are added up over the group, so that any split of a batch
gives the gradient of the whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from rubout.noise import Noise
from rubout.policy import Policy
from rubout.types import ActionSpace, Trajectories


@dataclass(frozen=True, slots=True)
class Demand:
    """What a learner consumes at one update.

    Attributes:
        rollouts: trajectories of the policy, over the whole group.
        paid: whether the reward judges them.
        completions: Monte-Carlo completions from every prefix of each rollout, whose mean rewards
            are its action values; 0: none.
        every: completions begin only after so many actions, and their multiples.
        prefix: the first actions of each rollout are those of an expert sequence of the batch, row
            by row: so many of them, or all but its last.
        noise: the slips that the expert's data show, where the space has a backspace.
    """

    rollouts: int = 0
    paid: bool = True
    completions: int = 0
    every: int = 1
    prefix: int = 0
    noise: Noise = field(default_factory=Noise)

    def __post_init__(self) -> None:
        if min(self.rollouts, self.completions, self.prefix) < 0 or self.every < 1:
            raise ValueError("a demand's numbers must not be negative, and every at least 1")
        if (self.completions or self.prefix) and not self.rollouts:
            raise ValueError("completions and a prefix are those of rollouts: ask for some")
        if self.completions and not self.paid:
            raise ValueError("completions are there to be paid")


@dataclass(frozen=True)
class Judge:
    """A reward that a learner trains: its weights are published with the policy's, as `reward`.

    Attributes:
        name: module:Class of a Reward that is an nn.Module.
        options: of its Config, plain values.
        share: where `--reward` names another, the total is share times this one and (1 - share)
            times the other.
    """

    name: str
    options: Mapping[str, Any]
    share: float = 1.0


class Group(Protocol):
    """The learners that train together, of which this is one."""

    rank: int
    size: int

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor over the group; carries no gradient."""

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over the group."""


class Alone:
    """A group of one."""

    rank = 0
    size = 1

    def sum(self, value: Tensor) -> Tensor:
        """The value itself."""
        return value.detach()

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Nothing to add."""


@dataclass(frozen=True)
class Context:
    """What a learner is given besides its options.

    Attributes:
        space: the actions.
        batch_size: real sequences per update, over the whole group.
        device: where the learner's modules live.
        group: the learners that train together.
    """

    space: ActionSpace
    batch_size: int
    device: torch.device
    group: Group


class Learner(ABC):
    """One way to teach a policy. Built as `LearnerClass(policy, config, context)`.

    Attributes:
        Config: the class of its options, a frozen dataclass.
        default_policy: the policy of a run that names none.
        uses_rollouts: whether any update asks for trajectories.
        uses_rewards: whether it learns from what they earn: from a judge of its own, or `--reward`.
        max_staleness: the most updates by which its rollouts may lag behind; None: any.
        stands_for_run: which checkpoint is the run's result: the best by validation NLL, or the
            last, where likelihood is not what is optimised.
    """

    Config: ClassVar[type]
    default_policy: ClassVar[str] = "lstm"
    uses_rollouts: ClassVar[bool] = False
    uses_rewards: ClassVar[bool] = False
    max_staleness: ClassVar[int | None] = None
    stands_for_run: ClassVar[Literal["best", "last"]] = "best"

    def __init__(self, policy: Policy, context: Context) -> None:
        self.policy = policy
        self.context = context

    @abstractmethod
    def update(self, data: Trajectories, rollouts: Trajectories | None) -> dict[str, float]:
        """Improve by one step.

        Args:
            data: this learner's part of a batch of expert sequences, on the context's device.
            rollouts: its part of what `demand` asked for, or None where that was nothing.

        Returns:
            metrics, plain numbers.
        """

    def demand(self, update: int) -> Demand:
        """What update number `update` (from 0) consumes; a pure function of the number."""
        del update
        return Demand()

    def modules(self) -> dict[str, nn.Module]:
        """Everything that is trained, by name: what checkpoints hold."""
        return {"policy": self.policy}

    @abstractmethod
    def optimizers(self) -> dict[str, Optimizer]:
        """The optimisers, by name."""

    def judge(self) -> Judge | None:
        """The reward that it trains itself, or None."""
        return None

    def published(self) -> dict[str, nn.Module]:
        """What the rollout actors receive: `policy`, and `reward` where there is a judge."""
        return {"policy": self.policy}

    def state(self) -> dict[str, float | int | str]:
        """Whatever else a resumed run needs: plain values."""
        return {}

    def load_state(self, state: Mapping[str, float | int | str]) -> None:
        """Take back what `state` gave."""
        assert not state, f"{type(self).__name__} gives a state and takes none back"

    def memory(self) -> dict[str, Trajectories]:
        """This learner's part of the action logs that a resumed run needs, by name."""
        return {}

    def load_memory(self, memory: Mapping[str, Trajectories]) -> None:
        """Take back what `memory` gave."""
        assert not memory, f"{type(self).__name__} gives a memory and takes none back"

    def step(
        self,
        loss: Tensor | Iterable[Tensor],
        optimizer: Optimizer,
        parameters: Iterable[nn.Parameter],
        clip: float,
    ) -> float:
        """Backward, add gradients over the group, clip, step.

        Args:
            loss: scalar, this learner's part of the group's loss; or its summands, each of which
                is let go before the next is made.
            optimizer: updated.
            parameters: those the optimiser holds.
            clip: largest global gradient norm; 0: no clipping.

        Returns:
            the gradient's norm before clipping.
        """
        held = list(parameters)
        for parameter in held:
            parameter.grad = None
        for summand in [loss] if isinstance(loss, Tensor) else loss:
            summand.backward()
        self.context.group.add_gradients(held)
        norm = nn.utils.clip_grad_norm_(held, clip if clip > 0 else torch.inf)
        optimizer.step()
        return float(norm)
