"""Many rollout actors behind one `RolloutSource`.

A request is split into parts, and each part carries its seed and the version of the weights it is
to be answered under. An actor types a part a batch at a time, and the batches are the same however
many share a part. So the answer does not depend on which actor gives it, nor on how often it was
lost and asked for again: with Ray or in one process, the rollouts are the same.
Nothing is ever thrown away for being late. Weights travel through Ray's object store, rollouts with
the answer unless they are large (`rubout.rollout.environment`): in host memory either way.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ray
import torch
from ray.exceptions import (
    GetTimeoutError,
    NodeDiedError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayActorError,
    WorkerCrashedError,
)
from ray.util.placement_group import (
    get_current_placement_group,
    placement_group,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
from torch import nn

from rubout.errors import UserError
from rubout.rollout.members import FIRST_PAUSE_S, IN_FLIGHT, Answer, Doors, Member, Part
from rubout.rollout.sampler import Request
from rubout.rollout.source import Losses, RolloutSpec
from rubout.rollout.wire import pack_weights, unpack
from rubout.rollout.worker import RolloutWorker
from rubout.types import Trajectories

_LOST = (
    RayActorError,
    OutOfMemoryError,  # not one of RayActorError
    WorkerCrashedError,
    NodeDiedError,
    ObjectLostError,  # an answer whose node died before it was fetched
    GetTimeoutError,
)
_START_TIMEOUT_S, _START_TIMEOUT_PER_WORKER_S = 120.0, 2.0
_LONGEST_PAUSE_S = 5.0
_GIVE_UP_S = 300.0
_RESUME = "--resume goes on from the last checkpoint"


class Fleet:
    """See the module.

    The actors' resources are reserved together, or not at all. Within a Tune trial they are those
    of the trial's own placement group, with a bundle for each actor; a learner worker has no group.

    Args:
        spec: what each actor runs.
        num_workers: actors.
        cpus, gpus: what an actor reserves; a fraction of a GPU will do.
        request_timeout_s: an actor that works on a part for longer is ended and replaced.
        max_tries: how often one part is tried before the run gives up.
        worker: made from `spec` in an actor; has `ping` and `sample` as `RolloutWorker` does.

    Raises:
        UserError: the resources are not to be had; at the first request: actors did not come up.
    """

    def __init__(
        self,
        spec: RolloutSpec,
        num_workers: int,
        cpus: float = 1.0,
        gpus: float = 0.0,
        request_timeout_s: float = 600.0,
        max_tries: int = 5,
        worker: type = RolloutWorker,
    ) -> None:
        self.losses, self._spec = Losses(), spec
        self._request_timeout_s, self._max_tries = request_timeout_s, max_tries
        self._queue, self._answers = deque[Part](), dict[int, Answer]()
        self._version, self._weights = -1, None
        strategy, self._reserved = _place(num_workers, cpus, gpus)
        actor_class = ray.remote(worker).options(
            num_cpus=cpus,
            num_gpus=gpus,
            max_restarts=-1,
            max_task_retries=0,
            scheduling_strategy=strategy,
        )
        self._members = [Member(actor_class.remote(spec)) for _ in range(num_workers)]
        self._unwell: dict[Member, None] = {}
        self._asked: dict[Any, Member] = {}  # who is to answer each reference that is waited for
        self._rising = [member.actor.ping.remote() for member in self._members]
        self._doors = Doors(self._members)

    def publish(self, version: int, modules: Mapping[str, nn.Module]) -> None:
        """See `RolloutSource.publish`: one copy in the store, fetched once per node.

        The one before leaves the store with the last part that is to be answered under it.
        """
        with _room():
            self._version, self._weights = version, ray.put(pack_weights(modules))

    def request(self, update: int, request: Request) -> None:
        """See `RolloutSource.request`; where a draw is out, one will be when this one ends, too."""
        self._wait_until_up()
        parts = request.shares(self._spec.batch, len(self._members), last=not self._answers)
        self._answers[update] = Answer([None] * len(parts), len(parts))
        for index, part in enumerate(parts):
            self._queue.append(Part(update, index, part, self._version, self._weights))
        self._hand_out()

    def collect(self, update: int) -> Trajectories:
        """See `RolloutSource.collect`."""
        while self._answers[update].missing:
            self._hand_out()
            self._take_in()
        self._hand_out(limit=None)  # who asks for a part while the driver learns would get none
        parts = self._answers.pop(update).parts
        return Trajectories.cat([part for part in parts if part is not None])

    def restore(self, update: int, rollouts: Trajectories) -> None:
        """See `RolloutSource.restore`."""
        self._answers[update] = Answer([rollouts], missing=0)

    def close(self) -> None:
        """End the actors and give back what was reserved."""
        for member in self._members:
            ray.kill(member.actor)
        if self._reserved is not None:
            remove_placement_group(self._reserved)

    def _wait_until_up(self) -> None:
        """At the first request: while they rise, the learner's data are made ready."""
        pings, self._rising = self._rising, []
        timeout = _START_TIMEOUT_S + _START_TIMEOUT_PER_WORKER_S * len(pings)
        try:
            ray.get(pings, timeout=timeout)
        except GetTimeoutError as error:
            up = ray.wait(pings, num_returns=len(pings), timeout=0)[0]
            raise UserError(
                f"{len(up)} of {len(pings)} rollout workers came up within {timeout:.0f} s"
            ) from error

    def _hand_out(self, limit: int | None = IN_FLIGHT) -> None:
        """Oldest first, to the actor that has least to do, and never more than `limit` to one."""
        while self._queue:
            member = self._doors.least(limit)
            if member is None:
                return
            part = self._queue.popleft()
            reference = member.actor.sample.remote(part.request, part.version, [part.weights])
            member.parts[reference] = part
            self._asked[reference] = member
            self._doors.place(member)

    def _take_in(self) -> None:
        """Wait until something comes back: a part, its loss, or an actor that stands again."""
        self._ask_the_unwell()
        timeout, paused = self._patience()
        if not self._asked:
            time.sleep(timeout)
            return
        waiting = list(self._asked)
        if not ray.wait(waiting, num_returns=1, timeout=timeout)[0]:
            if not paused:
                self._end_the_hung()
            return
        # All that is there, so that many actors cost one look at their references and not many.
        for reference in ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]:
            member = self._asked.pop(reference)
            if reference in member.parts:
                self._receive(member, reference)
            else:
                self._greet(member)

    def _patience(self) -> tuple[float, bool]:
        """How long to wait for something to come back, in seconds; whether a pause ends it."""
        now = time.monotonic()
        pauses = [member.not_before for member in self._unwell if member.not_before]
        if pauses:
            return max(min(pauses) - now, 0.0), True
        if len(self._unwell) == len(self._members):
            newest = max(member.unwell_since for member in self._unwell)
            return max(newest + _GIVE_UP_S - now, 0.1), True
        return self._request_timeout_s, False

    def _receive(self, member: Member, reference: Any) -> None:
        part = member.parts.pop(reference)
        answer = self._answers[part.update]
        try:
            with _room():
                answer.parts[part.index] = unpack(ray.get(reference))
            answer.missing -= 1
        except _LOST as error:
            self._lose(member, part, error)
        self._doors.place(member)

    def _lose(self, member: Member, part: Part, error: Exception) -> None:
        """Ask for the same part again, with the same seed; the actor restarts by itself."""
        part.tries += 1
        self.losses.requests += 1
        reason = type(error).__name__
        self.losses.reasons[reason] = self.losses.reasons.get(reason, 0) + 1
        if part.tries >= self._max_tries:
            # Ray does not always say that it was memory: an actor that it ended is "unavailable".
            raise UserError(
                f"a rollout request was lost {part.tries} times, last by {reason}: "
                f"{str(error).splitlines()[0]} ({_RESUME}, with fewer --rollout-workers if memory "
                f"was short)"
            ) from error
        self._queue.appendleft(part)
        if not member.unwell_since:
            self.losses.restarts += 1
            member.unwell_since = time.monotonic()
            self._unwell[member] = None
            self._ping(member)

    def _ping(self, member: Member) -> None:
        member.not_before, member.ping = 0.0, member.actor.ping.remote()
        self._asked[member.ping] = member

    def _ask_the_unwell(self) -> None:
        """Ping again those whose pause is over."""
        now = time.monotonic()
        for member in self._unwell:
            if member.not_before and now >= member.not_before:
                self._ping(member)
        gone = [member for member in self._unwell if now - member.unwell_since > _GIVE_UP_S]
        if len(gone) == len(self._members):
            raise UserError(f"no rollout worker came back within {_GIVE_UP_S:.0f} s ({_RESUME})")

    def _greet(self, member: Member) -> None:
        """A ping came back: the actor stands, or is asked again after a pause."""
        try:
            ray.get(member.ping)
        except _LOST:
            member.not_before = time.monotonic() + member.pause_s
            member.pause_s = min(2 * member.pause_s, _LONGEST_PAUSE_S)
            return
        member.ping, member.pause_s, member.unwell_since = None, FIRST_PAUSE_S, 0.0
        del self._unwell[member]
        self._doors.place(member)

    def _end_the_hung(self) -> None:
        """Nothing came back for too long: end what is at work; its parts come back as lost."""
        for member in self._members:
            if member.parts:
                ray.kill(member.actor, no_restart=False)


@contextmanager
def _room() -> Iterator[None]:
    """Say in a line that neither Ray's object store nor the disk it spills to has room."""
    try:
        yield
    except (ObjectStoreFullError, OutOfDiskError) as error:
        raise UserError(
            f"Ray's object store is full, and so is the disk it spills to: make room on the disk "
            f"of Ray's --temp-dir, or give the cluster more --object-store-memory ({_RESUME})"
        ) from error


def _place(num_workers: int, cpus: float, gpus: float) -> tuple[Any, Any]:
    """Where the actors go, and the group that was reserved for that, or None."""
    if torch.distributed.is_initialized():
        # A learner worker: its own group is full. One that it made would outlive it until the job
        # ends, and keep out the worker that takes its place; mere actors end with it.
        return "DEFAULT", None
    trial = get_current_placement_group()
    reserved = _reserve(num_workers, cpus, gpus) if trial is None else None
    return PlacementGroupSchedulingStrategy(trial or reserved), reserved


def _reserve(num_workers: int, cpus: float, gpus: float) -> Any:
    """All actors' resources or none."""
    bundle = {"CPU": cpus} | ({"GPU": gpus} if gpus else {})
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
