"""What a trial takes, and how many fit."""

import pytest

from rubout.errors import UserError
from rubout.training.config import TrainConfig
from rubout.tuning.resources import Demand


def of(**options: object) -> Demand:
    return Demand.of(TrainConfig(**{"learner": "cot", "device": "cpu", **options}))


def test_a_trial_of_its_own() -> None:
    assert of().bundles() == [{"CPU": 1, "GPU": 0}]
    assert of(threads=2).fits([{"CPU": 8}], "here") == 4
    assert of(threads=3).fits([{"CPU": 8}], "here") == 2


def test_its_rollout_actors_are_in_its_group() -> None:
    demand = of(rollout_workers=3, rollout_gpus=0.25, device="cuda")
    actor = {"CPU": 1, "GPU": 0.25}
    assert demand.bundles() == [{"CPU": 1, "GPU": 1.0}, actor, actor, actor]
    assert demand.fits([{"CPU": 8, "GPU": 2}] * 2, "here") == 2
    assert demand.fits([{"CPU": 9, "GPU": 100}], "here") == 2


def test_a_learner_without_rollouts_starts_no_actors() -> None:
    assert of(learner="mle", rollout_workers=3).bundles() == [{"CPU": 1, "GPU": 0}]


def test_learner_workers_reserve_for_themselves() -> None:
    demand = of(learner_workers=2, rollout_workers=2, batch_size=64, device="cuda", threads=2)
    assert demand.bundles()[0] == {"CPU": 0.01, "GPU": 0.0}  # it only waits for them
    assert demand.fits([{"CPU": 8.01, "GPU": 2}], "here") == 1
    with pytest.raises(UserError, match=r"need 8\.01 CPUs and here has 8"):
        demand.fits([{"CPU": 8, "GPU": 2}], "here")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"threads": 9}, "the processes of one trial need 9 CPUs and the cluster has 8"),
        ({"rollout_workers": 8}, "the processes of one trial need 9 CPUs and the cluster has 8"),
        ({"device": "cuda"}, "need 1 GPUs and the cluster has 0"),
    ],
)
def test_what_never_fits_is_refused(options: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        of(**options).fits([{"CPU": 8}], "the cluster")


def test_a_process_is_on_one_machine() -> None:
    """Four CPUs on two machines do not hold a process of three."""
    with pytest.raises(UserError, match="no machine of the cluster has as much left"):
        of(threads=3).fits([{"CPU": 2}, {"CPU": 2}], "the cluster")
