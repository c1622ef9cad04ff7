"""Actors that sleep instead of generating, and need no torch: for `benchmarks.controller`."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

WIDTH = 20  # actions of an answer


@dataclass(frozen=True)
class IdleSpec:
    """Stands in for a `RolloutSpec`.

    Attributes:
        sleep_s: how long an answer takes.
        batch: sequences of an answer.
        copies: whether an actor copies weights into arrays of its own, as a policy would.
    """

    sleep_s: float
    batch: int = 64
    copies: bool = False


@dataclass(frozen=True)
class IdleRequest:
    """Stands in for a `Request`."""

    first: int
    count: int

    def shares(self, batch: int, actors: int) -> list[IdleRequest]:
        """See `Request.shares`; each is one batch."""
        del actors
        starts = range(self.first, self.first + self.count, batch)
        return [replace(self, first=start, count=batch) for start in starts]


class IdleWorker:
    """Stands in for a `RolloutWorker`."""

    def __init__(self, spec: IdleSpec) -> None:
        self._spec, self._version = spec, -1
        self._own: dict[str, np.ndarray] = {}
        self._answer = {
            "actions": np.ones((spec.batch, WIDTH), np.int16),
            "log_probs": np.zeros((spec.batch, WIDTH), np.float32),
            "terminated": np.ones(spec.batch, bool),
            "policy_version": np.zeros(spec.batch, np.int64),
        }

    def ping(self) -> bool:
        """See `RolloutWorker.ping`."""
        return True

    def sample(
        self, request: IdleRequest, version: int, weights: list[object]
    ) -> dict[str, np.ndarray]:
        """Sleep between half and one and a half times as long as the spec says, by request."""
        if self._spec.copies and version != self._version:
            self.take(weights)
        self._version = version
        share = 0.5 + (request.first * 2654435761 % 2**32) / 2**32
        time.sleep(self._spec.sleep_s * share)
        numbers = np.arange(request.first, request.first + request.count, dtype=np.int32)
        return self._answer | {"num_actions": numbers}

    def take(self, weights: list[object]) -> bool:
        """Copy weights, given as a reference or as they are, into arrays of its own."""
        import ray

        given = weights[0]
        packed = ray.get(given) if isinstance(given, ray.ObjectRef) else given
        for name, value in packed["policy"].items():
            if name not in self._own:
                self._own[name] = np.empty_like(value)
            np.copyto(self._own[name], value)
        return True
