"""Actors answer as this process would, whatever happens to them."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from rubout.checks.common import same
from rubout.errors import UserError
from rubout.options import build_policy
from rubout.policy import Policy
from rubout.rollout.rewards import RewardSpec
from rubout.rollout.sampler import Request
from rubout.rollout.source import LocalRollouts, RolloutSource, RolloutSpec
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.rollout import fleet_plugins
from tests.rollout.fleet_plugins import Judge, JudgeConfig

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

SPACE = ActionSpace(5, 6, backspace=True)
OPTIONS = {"embedding": 6, "hidden": 7, "init_std": 0.7}
SPEC = RolloutSpec("lstm", OPTIONS, SPACE, batch=4)
SLOW = replace(SPEC, reward=RewardSpec("tests.rollout.fleet_plugins:Slow", {}))
BROKEN = replace(SPEC, reward=RewardSpec("tests.rollout.fleet_plugins:Broken", {}))

MakeFleet = Callable[..., Any]


@pytest.fixture
def make_fleet() -> Iterator[MakeFleet]:
    from rubout.rollout.fleet import Fleet

    with contextlib.ExitStack() as stack:

        def make(spec: RolloutSpec, num_workers: int = 2, **options: Any) -> Fleet:
            fleet = Fleet(spec, num_workers, cpus=0.5, **options)
            stack.callback(fleet.close)
            return fleet

        yield make


def policy() -> Policy:
    torch.manual_seed(0)
    return build_policy("lstm", OPTIONS, SPACE)


def train(model: nn.Module) -> None:
    """Other weights, the same whoever asks."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)


def rollouts(
    source: RolloutSource, model: Policy, updates: int, prompts: Sequences | None = None
) -> list[Trajectories]:
    """A loop with a staleness of 1: the next request is made before the last is collected.

    Each has more parts than two actors hold, so some are handed out under a later version's reign.
    """
    found = []
    source.publish(0, {"policy": model})
    source.request(0, Request(7, 0, 24, prompts))
    for update in range(updates):
        train(model)
        source.publish(update + 1, {"policy": model})
        source.request(update + 1, Request(7 + update, 100 * update, 24, prompts))
        found.append(source.collect(update))
    return [*found, source.collect(updates)]


def assert_same(ours: list[Trajectories], theirs: list[Trajectories]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        for name in one.__dataclass_fields__:
            left, right = getattr(one, name), getattr(other, name)
            assert same(left, right), name


def test_two_actors_are_this_process() -> None:
    """And they hold what they reserve for as long as they live."""
    import ray

    from rubout.rollout.fleet import Fleet

    total = float(ray.cluster_resources()["CPU"])
    assert free_cpus(total) == total
    fleet = Fleet(SPEC, 2, cpus=0.5)
    try:
        assert free_cpus(total - 1) == total - 1
        for prompts in (None, Sequences.of([[row % 5] * (row % 3) for row in range(24)])):
            model = policy()
            expected = rollouts(LocalRollouts(SPEC, model), model, 4, prompts)
            assert_same(rollouts(fleet, policy(), 4, prompts), expected)
            assert [int(part.policy_version_B[0]) for part in expected] == [0, 1, 2, 3, 4]
        assert (fleet.losses.requests, fleet.losses.restarts) == (0, 0)
        fleet.restore(9, expected[0])
        assert fleet.collect(9) is not None
    finally:
        fleet.close()
    assert free_cpus(total) == total


def test_actors_judge_completions_with_what_is_published(make_fleet: MakeFleet) -> None:
    """Policy and judge are trained on; every field is the same, the reports too."""
    judge = RewardSpec("tests.rollout.fleet_plugins:Judge", {"scale": 2.0})
    spec = replace(SPEC, judge=judge, step_penalty=0.125)
    model, critic = policy(), Judge(SPACE, JudgeConfig())
    local, fleet = LocalRollouts(spec, model), make_fleet(spec)
    prompts = Sequences.of([[row % 5] * (row % 3) for row in range(12)])
    torch.manual_seed(1)
    ours, theirs = [], []
    for update in range(3):
        train(model)
        torch.nn.init.normal_(critic.worth_A)
        request = Request(7 + update, 0, 12, prompts, completions=2, every=1 + update)
        for source, found in ((fleet, ours), (local, theirs)):
            source.publish(update, {"policy": model, "reward": critic})
            source.request(update, request)
            found.append(source.collect(update))
    assert_same(ours, theirs)
    for part in ours:
        assert part.action_values_BT is not None
        assert part.value_errors_BT is not None
        assert bool(part.value_errors_BT.any())
        assert part.reports is not None
        assert part.reports.keys() == {"Judge", "Judge/first"}
    assert len({float(part.reports["Judge"].sum()) for part in ours if part.reports}) == 3


def process_of(actor: Any) -> int:
    """The actor's process; waits while it restarts, which the others do not."""
    import ray

    end = time.monotonic() + 60
    while True:
        try:
            return int(ray.get(actor.__ray_call__.remote(fleet_plugins.process_id)))
        except ray.exceptions.RayActorError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def test_a_killed_actor_is_replaced(make_fleet: MakeFleet) -> None:
    model = policy()
    local = LocalRollouts(SLOW, model)
    local.publish(0, {"policy": model})
    local.request(0, Request(7, 0, 24))
    fleet = make_fleet(SLOW)
    victim = fleet._members[0].actor
    pid = process_of(victim)
    fleet.publish(0, {"policy": model})
    fleet.request(0, Request(7, 0, 24))
    time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    assert_same([fleet.collect(0)], [local.collect(0)])
    assert 1 <= fleet.losses.requests <= 2, "what it was doing, and what waited at its door"
    assert fleet.losses.restarts == 1
    assert sum(fleet.losses.reasons.values()) == fleet.losses.requests
    # The one that replaced it works, and under new weights.
    train(model)
    local.publish(1, {"policy": model})
    fleet.publish(1, {"policy": model})
    for source in (local, fleet):
        source.request(1, Request(8, 0, 24))
    assert_same([fleet.collect(1)], [local.collect(1)])
    assert process_of(victim) != pid


def test_a_hung_actor_is_ended(make_fleet: MakeFleet) -> None:
    """Nothing comes back within the time: the actor is ended; the run gives up as it was told."""
    fleet = make_fleet(SLOW, 1, request_timeout_s=0.01, max_tries=1)
    model = policy()
    fleet.publish(0, {"policy": model})
    fleet.request(0, Request(7, 0, 24))
    with pytest.raises(UserError, match=r"a rollout request was lost 1 times.*--resume goes on"):
        fleet.collect(0)


def test_an_error_in_a_reward_is_shown(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(BROKEN, 1)
    model = policy()
    fleet.publish(0, {"policy": model})
    fleet.request(0, Request(7, 0, 4))
    with pytest.raises(ZeroDivisionError, match="this reward is broken"):
        fleet.collect(0)
    assert fleet.losses.requests == 0, "a mistake is not a loss: it would happen again"


def test_actors_have_work_while_the_driver_learns(make_fleet: MakeFleet) -> None:
    """All that was asked for lies at their doors when `collect` is left, in equal shares."""
    model = policy()
    local, fleet = LocalRollouts(SPEC, model), make_fleet(SPEC)
    for source in (local, fleet):
        source.publish(0, {"policy": model})
        for update in range(2):
            source.request(update, Request(7 + update, 0, 48))
    # Single batches end the first draw, behind which there was none when it was asked for.
    assert [len(fleet._answers[update].parts) for update in range(2)] == [9, 4]
    assert_same([fleet.collect(0)], [local.collect(0)])
    assert not fleet._queue
    assert fleet._answers[1].missing == sum(len(member.parts) for member in fleet._members)
    assert_same([fleet.collect(1)], [local.collect(1)])


def test_actors_rise_while_the_driver_prepares(
    make_fleet: MakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first request waits for them, and says so where they do not come."""
    from rubout.rollout import fleet

    monkeypatch.setattr(fleet, "_START_TIMEOUT_S", 0.0)
    monkeypatch.setattr(fleet, "_START_TIMEOUT_PER_WORKER_S", 0.0)
    monkeypatch.setattr(fleet, "_place", lambda *_: ("DEFAULT", None))
    made = make_fleet(SPEC, 1)
    made.publish(0, {"policy": policy()})
    with pytest.raises(UserError, match="0 of 1 rollout workers came up"):
        made.request(0, Request(7, 0, 4))


def free_cpus(wanted: float) -> float:
    """What is free, once it is as much as that, or after ten seconds."""
    import ray

    end = time.monotonic() + 10
    while True:
        free = float(ray.available_resources().get("CPU", 0.0))
        if abs(free - wanted) < 1e-6 or time.monotonic() > end:
            return free
        time.sleep(0.05)


def test_what_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from rubout.rollout import fleet

    monkeypatch.setattr(fleet, "_START_TIMEOUT_S", 0.5)
    total = float(ray.cluster_resources()["CPU"])
    with pytest.raises(UserError, match=r"need 1000 CPUs and 0 GPUs at once"):
        fleet.Fleet(SPEC, 1000)
    assert free_cpus(total) == total
