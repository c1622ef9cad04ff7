"""Many rollout actors behind one `RolloutSource`.

A request is split into parts of a fixed size, and each part carries its seed and the version of the
weights it is to be answered under. So the answer does not depend on which actor gives it, nor on
how often it was lost and asked for again: with Ray or in one process, the rollouts are the same.
Nothing is ever thrown away for being late.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError, WorkerCrashedError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from torch import nn

from rubout.errors import UserError
from rubout.rollout.sampler import Request
from rubout.rollout.source import Losses, RolloutSpec
from rubout.rollout.wire import pack_weights, unpack
from rubout.rollout.worker import RolloutWorker
from rubout.types import Trajectories

_IN_FLIGHT = 2  # per actor: the next request waits at its door while it works
_LOST = (RayActorError, OutOfMemoryError, WorkerCrashedError, GetTimeoutError)
_START_TIMEOUT_S = 120.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
_GIVE_UP_S = 300.0


@dataclass
class _Part:
    update: int
    index: int
    request: Request
    version: int
    weights: Any
    tries: int = 0


@dataclass
class _Member:
    """An actor and what it is doing."""

    actor: Any
    parts: dict[Any, _Part]
    ping: Any = None  # set while it is not known to be well
    pause_s: float = _FIRST_PAUSE_S
    not_before: float = 0.0  # monotonic time of the next ping, 0 while none is to be sent
    unwell_since: float = 0.0  # monotonic time, 0 while it is well


class Fleet:
    """See the module.

    Args:
        spec: what each actor runs.
        num_workers: actors.
        cpus: CPUs an actor reserves.
        gpus: GPUs (or a fraction) an actor reserves.
        request_timeout_s: an actor that works on a part for longer is ended and replaced.
        max_tries: how often one part is tried before the run gives up.
    """

    def __init__(
        self,
        spec: RolloutSpec,
        num_workers: int,
        cpus: float = 1.0,
        gpus: float = 0.0,
        request_timeout_s: float = 600.0,
        max_tries: int = 5,
    ) -> None:
        self.losses = Losses()
        self._spec, self._max_tries = spec, max_tries
        self._request_timeout_s = request_timeout_s
        self._queue: deque[_Part] = deque()
        self._results: dict[int, list[Trajectories | None]] = {}
        self._version, self._weights = -1, None
        self._group = _reserve(num_workers, cpus, gpus)
        actor_class = ray.remote(RolloutWorker).options(
            num_cpus=cpus,
            num_gpus=gpus,
            max_restarts=-1,
            max_task_retries=0,
            scheduling_strategy=PlacementGroupSchedulingStrategy(self._group),
        )
        self._members = [_Member(actor_class.remote(spec), {}) for _ in range(num_workers)]
        ray.get([member.actor.ping.remote() for member in self._members], timeout=_START_TIMEOUT_S)

    def publish(self, version: int, modules: Mapping[str, nn.Module]) -> None:
        """See `RolloutSource.publish`: one copy in the store, fetched once per node."""
        self._version, self._weights = version, ray.put(pack_weights(modules))

    def request(self, update: int, request: Request) -> None:
        """See `RolloutSource.request`."""
        parts = request.split(self._spec.batch)
        self._results[update] = [None] * len(parts)
        for index, part in enumerate(parts):
            self._queue.append(_Part(update, index, part, self._version, self._weights))
        self._hand_out()

    def collect(self, update: int) -> Trajectories:
        """See `RolloutSource.collect`."""
        while any(part is None for part in self._results[update]):
            self._hand_out()
            self._take_in()
        return Trajectories.cat([part for part in self._results.pop(update) if part is not None])

    def restore(self, update: int, rollouts: Trajectories) -> None:
        """See `RolloutSource.restore`."""
        self._results[update] = [rollouts]

    def close(self) -> None:
        """End the actors and give their resources back."""
        for member in self._members:
            ray.kill(member.actor)
        remove_placement_group(self._group)

    def _hand_out(self) -> None:
        """Oldest first, to the actor that has least to do."""
        while self._queue:
            well = [m for m in self._members if m.ping is None and len(m.parts) < _IN_FLIGHT]
            if not well:
                return
            member = min(well, key=lambda m: len(m.parts))
            part = self._queue.popleft()
            reference = member.actor.sample.remote(part.request, part.version, [part.weights])
            member.parts[reference] = part

    def _take_in(self) -> None:
        """Wait until something comes back: a part, its loss, or an actor that stands again."""
        self._ask_the_unwell()
        paused = [member.not_before for member in self._members if member.not_before]
        waiting: list[Any] = [reference for member in self._members for reference in member.parts]
        waiting += [m.ping for m in self._members if m.ping is not None and not m.not_before]
        timeout = self._request_timeout_s
        if paused:
            timeout = max(min(paused) - time.monotonic(), 0.0)
        if not waiting:
            time.sleep(timeout)
            return
        done, _ = ray.wait(waiting, num_returns=1, timeout=timeout)
        if not done and not paused:
            self._end_the_hung()
        for member in self._members:
            for reference in done:
                if reference in member.parts:
                    self._receive(member, reference)
                elif reference == member.ping:
                    self._greet(member)

    def _receive(self, member: _Member, reference: Any) -> None:
        part = member.parts.pop(reference)
        try:
            self._results[part.update][part.index] = unpack(ray.get(reference))
        except _LOST as error:
            self._lose(member, part, error)

    def _lose(self, member: _Member, part: _Part, error: Exception) -> None:
        """Ask for the same part again, with the same seed; the actor restarts by itself."""
        part.tries += 1
        self.losses.requests += 1
        reason = type(error).__name__
        self.losses.reasons[reason] = self.losses.reasons.get(reason, 0) + 1
        if part.tries >= self._max_tries:
            raise RuntimeError(
                f"a rollout request was lost {part.tries} times, last by {reason}: "
                f"{str(error).splitlines()[0]}"
            ) from error
        self._queue.appendleft(part)
        if member.ping is None:
            self.losses.restarts += 1
            member.ping = member.actor.ping.remote()
            member.unwell_since = time.monotonic()

    def _ask_the_unwell(self) -> None:
        """Ping again those whose pause is over."""
        now = time.monotonic()
        for member in self._members:
            if member.not_before and now >= member.not_before:
                member.not_before = 0.0
                member.ping = member.actor.ping.remote()
        if all(m.unwell_since and now - m.unwell_since > _GIVE_UP_S for m in self._members):
            raise RuntimeError(f"no rollout worker came back within {_GIVE_UP_S:.0f} s")

    def _greet(self, member: _Member) -> None:
        """A ping came back: the actor stands, or is asked again after a pause."""
        try:
            ray.get(member.ping)
        except _LOST:
            member.not_before = time.monotonic() + member.pause_s
            member.pause_s = min(2 * member.pause_s, _LONGEST_PAUSE_S)
            return
        member.ping, member.pause_s, member.unwell_since = None, _FIRST_PAUSE_S, 0.0

    def _end_the_hung(self) -> None:
        """Nothing came back for too long: end what is at work; its parts come back as lost."""
        for member in self._members:
            if member.parts:
                ray.kill(member.actor, no_restart=False)


def _reserve(num_workers: int, cpus: float, gpus: float) -> Any:
    """All actors' resources or none."""
    bundle = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
    group = placement_group([bundle] * num_workers, strategy="PACK")
    try:
        ray.get(group.ready(), timeout=_START_TIMEOUT_S)
    except GetTimeoutError as error:
        remove_placement_group(group)
        free = ray.available_resources()
        raise UserError(
            f"{num_workers} rollout workers need {num_workers * cpus:g} CPUs and "
            f"{num_workers * gpus:g} GPUs at once; free are {free.get('CPU', 0):g} and "
            f"{free.get('GPU', 0):g}"
        ) from error
    return group
