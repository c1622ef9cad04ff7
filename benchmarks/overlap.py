"""A learner and an actor side by side: how long the learner waits."""

from __future__ import annotations

import time

import torch

from benchmarks.common import best
from benchmarks.fleets import WARM, Figures, Scale, drawn, fleet_of, policy_of, spec_of
from learners.mle import MLE, MLEConfig
from rubout.learner import Alone, Context
from rubout.policies.lstm import LSTMPolicy
from rubout.rollout.sampler import Request
from rubout.rollout.source import RolloutSource
from rubout.types import Trajectories


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
        learning_s = best(lambda: step(learner, rollouts), WARM)
        many = WARM * scale.parts
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
    for update in range(updates + WARM):
        began = time.perf_counter()
        rollouts = source.collect(update)
        waits.append(time.perf_counter() - began)
        step(learner, rollouts)
        ask(update + staleness + 1, update + 1)
        seconds.append(time.perf_counter() - began)
    for ahead in range(staleness + 1):
        source.collect(updates + WARM + ahead)
    return sum(waits[WARM:]) / updates, sum(seconds[WARM:]) / updates
