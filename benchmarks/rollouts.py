"""Rollout actors: how they scale, how they overlap with learning, and what the wire costs.

    python -m benchmarks.rollouts --scale smoke|cpu [--json FILE]

SeqGAN's world: an LSTM of 32 units, 5,000 tokens, 20 of them a sequence; every process has one
thread. Four tables:

- Sequences a second of one plain process and of two, without Ray, which is what the machine has
  to give; of one actor and of two, each with the next draw at hand (staleness 1), the driver only
  collecting. All four take turns: medians of the turns, and of the ratios within a round. Target:
  two actors type at least 1.8 times as much as one, on two cores.
- Overlap: one actor, a staleness of 1, and as many rollouts an update as take as long as the
  learner's step while both work. Target: the learner waits for less than 10% of the time.
- Bytes a sequence takes on the wire, beside the floor of its actions and log-probabilities.
- Seconds to publish weights, and to fetch them in an actor, by their size.

Other programs take the cores: read the load that is printed with the tables.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.common import best, machine, print_table
from benchmarks.plain_processes import PlainProcesses
from learners.mle import MLE, MLEConfig
from rubout.learner import Alone, Context
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.process import set_up
from rubout.rollout.environment import prepare
from rubout.rollout.sampler import Request
from rubout.rollout.source import LocalRollouts, RolloutSource, RolloutSpec
from rubout.rollout.wire import pack, pack_weights
from rubout.types import ActionSpace, Trajectories

_CPUS = 0.25  # reserved by an actor: all fleets stand at once, and one of them works
_WARM = 3
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
        rounds: of turns.
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
    rounds: int
    learned: int
    updates: int
    widths: tuple[int, ...]


SCALES = {
    "smoke": Scale(50, 6, 8, (8,), 8, 16, 2, 1, 16, 4, (8,)),
    "cpu": Scale(5000, 20, 32, (1024, 256, 64), 32, 4096, 4, 6, 2048, 20, (32, 256, 1024)),
}


# By table: its title, and what each figure is called and how it is written.
TABLES: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "speed": (
        "Sequences a second (target: two actors at least 1.8 times one)",
        {
            "batch": ("sequences a part", ".0f"),
            "one_process": ("1 process", ",.0f"),
            "two_processes": ("2 processes", ",.0f"),
            "scaling_without_ray": ("2 / 1", ".2f"),
            "one_actor": ("1 actor", ",.0f"),
            "two_actors": ("2 actors", ",.0f"),
            "scaling": ("2 / 1", ".2f"),
            "driver_share": ("driver's share of a core", ".1%"),
        },
    ),
    "overlap": (
        "One actor, staleness 1 (target: waits less than 10%)",
        {
            "rollouts": ("rollouts", ".0f"),
            **{f"{what}_s": (f"{what} s", ".3f") for what in ("generating", "learning", "update")},
            "waiting_share": ("waits", ".1%"),
            "waiting_share_in_turns": ("waits, staleness 0", ".1%"),
        },
    ),
    "wire": (
        "Bytes a sequence, pickled as Ray sends them (floor: its actions and log-probabilities)",
        {
            "batch": ("sequences a part", ".0f"),
            "sent": ("sent", ".0f"),
            "floor": ("floor", ".0f"),
            "ratio": ("ratio", ".2f"),
        },
    ),
    "publishing": (
        "Weights to one actor",
        {
            "megabytes": ("MB", ".1f"),
            "put_s": ("put s", ".4f"),
            "fetch_s": ("fetch and load s", ".4f"),
        },
    ),
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

    return closing(Fleet(spec, workers, cpus=_CPUS))


def drawn(source: RolloutSource, sequences: int) -> Trajectories:
    """One draw, the same whoever types it."""
    source.request(0, Request(1, 0, sequences))
    return source.collect(0)


def stream(source: RolloutSource, sequences: int, draws: int) -> float:
    """Sequences a second of draws, of which the next is always asked for."""
    began = time.perf_counter()
    source.request(0, Request(0, 0, sequences))
    for draw in range(draws):
        if draw + 1 < draws:
            source.request(draw + 1, Request(draw + 1, 0, sequences))
        source.collect(draw)
    return sequences * draws / (time.perf_counter() - began)


def speeds(scale: Scale, batch: int) -> Figures:
    """All four, in turns."""
    spec = spec_of(scale, batch)
    policy = policy_of(spec)
    turns: list[tuple[float, ...]] = []
    shares = []
    with (
        PlainProcesses(spec, 1) as alone,
        PlainProcesses(spec, 2) as pair,
        fleet_of(spec, 1) as one,
        fleet_of(spec, 2) as two,
    ):
        expected = drawn(LocalRollouts(spec, policy), 2 * batch)
        for fleet in (one, two):
            fleet.publish(0, {"policy": policy})
            assert drawn(fleet, 2 * batch).actions_BT.equal(expected.actions_BT)
        for _ in range(scale.rounds + 1):
            in_turn = scale.drawn * scale.draws
            without = [processes.rate(in_turn) for processes in (alone, pair)]
            first = stream(one, scale.drawn, scale.draws)
            began, cpu = time.perf_counter(), time.process_time()
            second = stream(two, scale.drawn, 2 * scale.draws)
            shares.append((time.process_time() - cpu) / (time.perf_counter() - began))
            turns.append((*without, first, second))
    turns = turns[1:]
    names = ("one_process", "two_processes", "one_actor", "two_actors")
    return {
        "batch": batch,
        **{
            name: median(found) for name, found in zip(names, zip(*turns, strict=True), strict=True)
        },
        "scaling_without_ray": median(turn[1] / turn[0] for turn in turns),
        "scaling": median(turn[3] / turn[2] for turn in turns),
        "driver_share": median(shares[1:]),
    }


def learner_of(policy: LSTMPolicy, rows: int) -> MLE:
    """MLE, on rollouts instead of data: work, not wisdom."""
    return MLE(policy, MLEConfig(), Context(policy.space, rows, torch.device("cpu"), Alone()))


def step(learner: MLE, rollouts: Trajectories) -> None:
    """One step on the first rows, some of them again where there are fewer."""
    rows = torch.arange(learner.context.batch_size) % len(rollouts)
    learner.update(rollouts[rows], None)


def overlap(scale: Scale) -> Figures:
    """As many rollouts an update as take the actor as long as the learner takes, side by side."""
    spec = spec_of(scale, scale.batches[-1])
    learner = learner_of(policy_of(spec), scale.learned)
    with fleet_of(spec, 1) as fleet:
        fleet.publish(0, {"policy": learner.policy})
        rollouts = drawn(fleet, spec.batch * scale.parts)
        learning_s = best(lambda: step(learner, rollouts), _WARM)
        many = _WARM * scale.parts
        steps = max(1, int(best(lambda: drawn(fleet, spec.batch * many), 1) / learning_s) - 1)
        began = time.perf_counter()
        fleet.request(0, Request(0, 0, spec.batch * many))
        for _ in range(steps):
            step(learner, rollouts)
        learning_s = (time.perf_counter() - began) / steps
        fleet.collect(0)
        generating_s = (time.perf_counter() - began) / many
        parts = max(1, round(learning_s / generating_s))
        count = parts * spec.batch
        waited = [_loop(fleet, learner, scale.updates, count, lag) for lag in (0, 1)]
    (turns_s, in_turns_s), (waiting_s, update_s) = waited
    return {
        "rollouts": count,
        "generating_s": generating_s * parts,
        "learning_s": learning_s,
        "update_s": update_s,
        "waiting_share": waiting_s / update_s,
        "waiting_share_in_turns": turns_s / in_turns_s,
    }


def _loop(
    source: RolloutSource, learner: MLE, updates: int, count: int, staleness: int
) -> tuple[float, float]:
    """The order of `rubout.training.loop`; seconds of waiting and in all, means of an update."""

    def ask(update: int, version: int) -> None:
        source.publish(version, {"policy": learner.policy})
        source.request(update, Request(update, 0, count))

    for ahead in range(staleness + 1):
        ask(ahead, 0)
    waits, seconds = [], []
    for update in range(updates + _WARM):
        began = time.perf_counter()
        rollouts = source.collect(update)
        waits.append(time.perf_counter() - began)
        step(learner, rollouts)
        ask(update + staleness + 1, update + 1)
        seconds.append(time.perf_counter() - began)
    for ahead in range(staleness + 1):
        source.collect(updates + _WARM + ahead)
    return sum(waits[_WARM:]) / updates, sum(seconds[_WARM:]) / updates


def wire(scale: Scale, batch: int) -> Figures:
    """What an actor sends back for a part, and the least that says the same."""
    spec = spec_of(scale, batch)
    found = drawn(LocalRollouts(spec, policy_of(spec)), batch)
    packed = pack(found, spec.space.size)
    sent = pickle.dumps(packed, protocol=5)
    floor = packed["actions"].nbytes + packed["log_probs"].nbytes
    return {
        "batch": batch,
        "sent": len(sent) / batch,
        "floor": floor / batch,
        "ratio": len(sent) / floor,
    }


def publishing(scale: Scale, width: int) -> Figures:
    """Put, and the time by which a small part takes longer where the weights are new."""
    spec = replace(spec_of(scale, 1, width), space=ActionSpace(scale.vocabulary, 1, eos=False))
    policy = policy_of(spec)
    put, old, new = [], [], []
    with fleet_of(spec, 1) as fleet:
        for version in range(2 * _WARM):
            put.append(best(lambda v=version: fleet.publish(v, {"policy": policy}), times=1))
            for found in (new, old):
                found.append(best(lambda: drawn(fleet, 1), times=1))
    weights = pack_weights({"policy": policy})["policy"].values()
    megabytes = sum(array.nbytes for array in weights) / 1e6
    fetch_s = median(new[1:]) - median(old[1:])
    return {"megabytes": megabytes, "put_s": median(put), "fetch_s": fetch_s}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu", help="default: cpu")
    parser.add_argument("--json", type=Path, help="file to write, besides the tables")
    arguments = parser.parse_args()
    set_up(1)
    prepare(None)
    from rubout.rollout.cluster import connect

    connect()
    scale, load = SCALES[arguments.scale], os.getloadavg()[0]
    measures: dict[str, Callable[[], Sequence[Figures]]] = {
        "speed": lambda: [speeds(scale, batch) for batch in scale.batches],
        "overlap": lambda: [overlap(scale)],
        "wire": lambda: [wire(scale, batch) for batch in scale.batches],
        "publishing": lambda: [publishing(scale, width) for width in scale.widths],
    }
    value: dict[str, Any] = {"machine": machine()}
    for name, (title, columns) in TABLES.items():
        rows = measures[name]()
        value[name] = rows
        cells = [[format(row[key], how) for key, (_, how) in columns.items()] for row in rows]
        print_table(title, [header for header, _ in columns.values()], cells)
    value["load"] = [load, os.getloadavg()[0]]
    print(f"\nload before and after: {value['load'][0]:.1f}, {value['load'][1]:.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
