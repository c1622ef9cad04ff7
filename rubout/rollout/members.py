"""Who of a fleet's actors does what, and who is to get the next part."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from rubout.rollout.sampler import Request
from rubout.types import Trajectories

IN_FLIGHT = 2  # per actor: the next request waits at its door while it works
FIRST_PAUSE_S = 0.2


@dataclass(eq=False)
class Part:
    """A piece of an update's request, as it is sent to an actor.

    Attributes:
        update: whose rollouts these are.
        index: of the piece.
        request: what to generate.
        version: of the weights it is to be answered under.
        weights: reference to them.
        tries: how often it was lost.
    """

    update: int
    index: int
    request: Request
    version: int
    weights: Any
    tries: int = 0


@dataclass
class Answer:
    """The parts of an update's rollouts, in order, as they come in."""

    parts: list[Trajectories | None]
    missing: int


@dataclass(eq=False)
class Member:
    """An actor and what it is doing.

    Attributes:
        actor: its handle.
        parts: what it was given, by the reference to its answer.
        door: which of the doors it stands at, that is how much it has to do; None where it takes no
            part.
        ping: set while it is not known to be well.
        pause_s: between its pings.
        not_before: monotonic time of the next ping, 0 while none is to be sent.
        unwell_since: monotonic time, 0 while it is well.
    """

    actor: Any
    parts: dict[Any, Part] = field(default_factory=dict)
    door: int | None = None
    ping: Any = None
    pause_s: float = FIRST_PAUSE_S
    not_before: float = 0.0
    unwell_since: float = 0.0


class Doors:
    """The actors that can take a part, by how many they have: none is searched for.

    With a thousand actors, to find the one that has least to do and to move it costs what it costs
    with two.
    """

    def __init__(self, members: Iterable[Member]) -> None:
        self._by_load: list[OrderedDict[Member, None]] = []
        for member in members:
            self.place(member)

    def place(self, member: Member) -> None:
        """Put an actor where it belongs, after what it does or how it is has changed."""
        if member.door is not None:
            del self._by_load[member.door][member]
        member.door = None if member.unwell_since else len(member.parts)
        if member.door is not None:
            while len(self._by_load) <= member.door:
                self._by_load.append(OrderedDict())
            self._by_load[member.door][member] = None

    def least(self, limit: int | None = IN_FLIGHT) -> Member | None:
        """The actor that has least to do, the longest so.

        Args:
            limit: only one that has fewer parts than that; None: one that has any number.

        Returns:
            the actor, or None where nobody can take a part.
        """
        return next((next(iter(door)) for door in self._by_load[:limit] if door), None)
