"""A rollout actor: a sampler that takes its weights by reference."""

from __future__ import annotations

from typing import Any

import ray

from rubout.process import set_up
from rubout.rollout.sampler import Request
from rubout.rollout.source import RolloutSpec, receivers
from rubout.rollout.wire import Packed, load_weights, pack


class RolloutWorker:
    """A plain class, so that it runs and is tested without Ray; `fleet` makes actors of it."""

    def __init__(self, spec: RolloutSpec) -> None:
        set_up(spec.threads)
        self._spec = spec
        self._sampler = spec.sampler()
        self._version = -1

    def ping(self) -> bool:
        """Answers once the actor stands."""
        return True

    def sample(self, request: Request, version: int, weights: list[Any]) -> Packed:
        """Generate one request under one version of the weights.

        Args:
            request: what to generate.
            version: whose weights.
            weights: a list of one reference to `pack_weights`' result, so that Ray passes the
                reference and not the value: it is fetched only where the version is new here.

        Returns:
            packed trajectories.
        """
        if version != self._version:
            packed = ray.get(weights[0]) if isinstance(weights[0], ray.ObjectRef) else weights[0]
            for name, module in receivers(self._sampler, packed).items():
                load_weights(module, packed[name])
            self._version = version
        spec = self._spec
        return pack(self._sampler.sample_in_batches(request, spec.batch, version), spec.space.size)
