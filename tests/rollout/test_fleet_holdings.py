"""What a fleet holds in the store, and where its actors live."""

from contextlib import closing
from typing import Any

import pytest
import torch

from rubout.options import build_policy
from rubout.policy import Policy
from rubout.rollout.sampler import Request
from rubout.rollout.source import RolloutSpec
from rubout.types import ActionSpace, Trajectories

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]

SPACE = ActionSpace(5, 6, backspace=True)
OPTIONS = {"embedding": 6, "hidden": 7}
SPEC = RolloutSpec("lstm", OPTIONS, SPACE, batch=4)


def policy() -> Policy:
    return build_policy("lstm", OPTIONS, SPACE)


def fleet_of(num_workers: int, **options: Any) -> Any:
    from rubout.rollout.fleet import Fleet

    return closing(Fleet(SPEC, num_workers, cpus=0.5, **options))


def held(reference_ids: list[str]) -> list[str]:
    """Which of these objects this process still holds in the store."""
    from ray._private.worker import global_worker

    counted = {key.decode() for key in global_worker.core_worker.get_all_reference_counts()}
    return [name for name in reference_ids if name in counted]


def test_weights_leave_the_store_with_their_last_part() -> None:
    """One object a version, held while parts are to be answered under it, and no longer."""
    names = []
    with fleet_of(2) as fleet:
        for version in range(6):
            fleet.publish(version, {"policy": policy()})
            names.append(fleet._weights.hex())
            assert held(names[-1:]) == names[-1:], "the test sees what is held"
            fleet.request(version, Request(version, 0, 24))
            if version:
                fleet.collect(version - 1)
                assert set(held(names)) <= {*names[-2:]}, "this version, and the one in flight"
        fleet.collect(5)
        assert held(names) == names[-1:]


class Counting:
    """Stands in for `RolloutWorker`: answers with what it was given, after weights it fetched."""

    def __init__(self, spec: RolloutSpec) -> None:
        self._version, self._fetched = -1, 0

    def ping(self) -> bool:
        return True

    def sample(self, request: Request, version: int, weights: list[Any]) -> Any:
        import ray

        from rubout.rollout.wire import pack

        if version != self._version:
            self._fetched += len(ray.get(weights[0]))
            self._version = version
        numbers = torch.arange(request.first, request.first + request.count)
        empty = torch.zeros(request.count, 1)
        return pack(
            Trajectories(
                actions_BT=torch.full((request.count, 1), self._fetched),
                log_probs_BT=empty,
                num_actions_B=numbers,
                terminated_B=empty[:, 0].bool(),
                policy_version_B=torch.full((request.count,), version),
            ),
            SPACE.size,
        )


def test_an_actor_fetches_weights_once_a_version() -> None:
    """And an answer is in the order of its request, whoever gave which part."""
    with fleet_of(1, worker=Counting) as fleet:
        for version in range(3):
            fleet.publish(version, {"policy": policy()})
            for request in range(2):
                fleet.request(2 * version + request, Request(0, 100 * request, 30))
        for update in range(6):
            found = fleet.collect(update)
            first = 100 * (update % 2)
            assert found.num_actions_B.tolist() == list(range(first, first + 30))
            assert set(found.policy_version_B.tolist()) == {update // 2}
            assert set(found.actions_BT.flatten().tolist()) == {update // 2 + 1}, "fetched once"


def test_within_a_trial_the_actors_live_in_its_group() -> None:
    """Nothing is reserved beside what the trial holds, and closing leaves the trial its group."""
    import ray
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = placement_group([{"CPU": 0.5}] * 3)
    ray.get(group.ready())
    strategy = PlacementGroupSchedulingStrategy(group)  # does not capture what the trial starts
    trial = ray.remote(num_cpus=0.5, scheduling_strategy=strategy, max_calls=1)(in_a_trial)
    try:
        groups, removed, weights = ray.get(trial.remote(), timeout=60)
        assert groups == [group.id.hex()] * 2
        assert removed == 0
        assert weights == 24
    finally:
        remove_placement_group(group)


def group_of(actor: object) -> str:
    """Run inside an actor."""
    from ray.util.placement_group import get_current_placement_group

    return str(get_current_placement_group().id.hex())


def in_a_trial() -> tuple[list[str], int, int]:
    """Two actors' groups; groups made beside the trial's own; rollouts that came."""
    import ray

    before = len(ray.util.placement_group_table())
    with fleet_of(2) as fleet:
        fleet.publish(0, {"policy": policy()})
        fleet.request(0, Request(7, 0, 24))
        count = len(fleet.collect(0))
        asked = [member.actor.__ray_call__.remote(group_of) for member in fleet._members]
        groups = ray.get(asked)
    return groups, len(ray.util.placement_group_table()) - before, count


def test_a_learner_worker_makes_no_group() -> None:
    """It would outlive the worker, and keep the one that takes its place from its actors."""
    import ray

    one = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=one, rank=0, world_size=1)
    try:
        before = len(ray.util.placement_group_table())
        with fleet_of(1) as fleet:
            fleet.publish(0, {"policy": policy()})
            fleet.request(0, Request(7, 0, 4))
            assert len(fleet.collect(0)) == 4
            assert len(ray.util.placement_group_table()) == before
    finally:
        torch.distributed.destroy_process_group()
