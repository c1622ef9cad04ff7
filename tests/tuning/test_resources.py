"""What a trial takes, and how many fit."""

import pytest

from rubout.errors import UserError
from rubout.training.config import TrainConfig
from rubout.tuning.resources import Demand


def of(**options: object) -> Demand:
    return Demand.of(TrainConfig(**{"learner": "cot", "device": "cpu", **options}))


def test_a_trial_of_its_own() -> None:
    assert of().bundles() == [{"CPU": 1}]
    assert of(threads=2).fits({"CPU": 8}) == 4
    assert of(threads=3).fits({"CPU": 8}) == 2


def test_its_rollout_actors_are_in_its_group() -> None:
    demand = of(rollout_workers=3, rollout_gpus=0.25, device="cuda")
    actor = {"CPU": 1, "GPU": 0.25}
    assert demand.bundles() == [{"CPU": 1, "GPU": 1.0}, actor, actor, actor]
    assert demand.total() == {"CPU": 4, "GPU": 1.75}
    assert demand.fits({"CPU": 16, "GPU": 4}) == 2
    assert demand.fits({"CPU": 9, "GPU": 100}) == 2


def test_a_learner_without_rollouts_starts_no_actors() -> None:
    assert of(learner="mle", rollout_workers=3).bundles() == [{"CPU": 1}]


def test_learner_workers_reserve_for_themselves() -> None:
    demand = of(learner_workers=2, rollout_workers=2, batch_size=64, device="cuda", threads=2)
    assert demand.bundles()[0] == {"CPU": 0.01}  # it only waits for them
    assert demand.total() == {"CPU": pytest.approx(8.01), "GPU": 2.0}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"threads": 9}, "a trial needs 9 CPUs and the cluster has 8"),
        ({"rollout_workers": 8}, "a trial needs 9 CPUs and the cluster has 8"),
        ({"device": "cuda"}, "a trial needs 1 GPUs and the cluster has 0"),
    ],
)
def test_what_never_fits_is_refused(options: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        of(**options).fits({"CPU": 8})
