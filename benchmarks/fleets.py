"""Fleets of rollout actors in SeqGAN's world, of several sizes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch

from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.rollout.sampler import Request
from rubout.rollout.source import RolloutSource, RolloutSpec
from rubout.types import ActionSpace, Trajectories

CPUS = 0.25  # reserved by an actor: all fleets stand at once, and one of them works
WARM = 3
Figures = dict[str, float]


@dataclass(frozen=True)
class Scale:
    """How much to measure.

    Attributes:
        vocabulary: tokens.
        length: of a sequence.
        hidden: units of the LSTM.
        batches: sequences of a part, each measured.
        parts: of one draw of the overlapped loop.
        drawn: sequences of one draw where speed is measured.
        draws: of one actor in its turn; two have twice as many.
        starts: of all processes and actors.
        rounds: of turns after each start.
        learned: sequences of a learner's step.
        updates: of the overlapped loop.
        widths: units of the LSTMs whose weights are published.
    """

    vocabulary: int
    length: int
    hidden: int
    batches: tuple[int, ...]
    parts: int
    drawn: int
    draws: int
    starts: int
    rounds: int
    learned: int
    updates: int
    widths: tuple[int, ...]


SCALES = {
    "smoke": Scale(50, 6, 8, (8,), 8, 16, 2, 1, 1, 16, 4, (8,)),
    "cpu": Scale(5000, 20, 32, (1024, 256, 64), 32, 4096, 2, 6, 4, 2048, 20, (32, 256, 1024)),
}


def spec_of(scale: Scale, batch: int, hidden: int = 0) -> RolloutSpec:
    """What the actors are made of."""
    width = hidden or scale.hidden
    space = ActionSpace(scale.vocabulary, scale.length, eos=False)
    return RolloutSpec("lstm", {"embedding": width, "hidden": width}, space, batch=batch)


def policy_of(spec: RolloutSpec) -> LSTMPolicy:
    """The driver's own."""
    torch.manual_seed(0)
    return LSTMPolicy(spec.space, LSTMConfig(**spec.policy_options))


def fleet_of(spec: RolloutSpec, workers: int) -> Any:
    """Actors; closes when the block ends."""
    from rubout.rollout.fleet import Fleet

    return closing(Fleet(spec, workers, cpus=CPUS))


def drawn(source: RolloutSource, sequences: int) -> Trajectories:
    """One draw, the same whoever types it."""
    source.request(0, Request(1, 0, sequences))
    return source.collect(0)
