"""What a run takes against what there is: said before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rubout.cli import train
from rubout.errors import UserError
from rubout.rollout import environment
from rubout.training import resources
from rubout.training.config import TrainConfig


def config(rollout: int, learner: int = 0, **values) -> TrainConfig:
    batch = max(learner, 1)
    return TrainConfig(rollout_workers=rollout, learner_workers=learner, batch_size=batch, **values)


def fits(run: TrainConfig, *machines: dict[str, float]) -> bool:
    try:
        resources.check_fits(run, machines)
    except UserError:
        return False
    return True


def test_demand_and_supply_are_said():
    with pytest.raises(UserError, match=r"need 12 CPUs and the cluster has 8: ask for fewer"):
        resources.check_fits(config(2, 1, threads=4), [{"CPU": 6.0}, {"CPU": 2.0}])
    with pytest.raises(UserError, match=r"need 1.5 GPUs and the cluster has 1: ask for fewer"):
        resources.check_fits(config(3, rollout_gpus=0.5), [{"CPU": 8.0, "GPU": 1.0}])


def test_an_actor_does_not_spread_over_machines():
    run = config(2, threads=4)
    assert fits(run, {"CPU": 4.0}, {"CPU": 4.0})
    assert fits(run, {"CPU": 8.0})
    with pytest.raises(UserError, match=r"no machine of the cluster has as much left"):
        resources.check_fits(run, [{"CPU": 5.0}, {"CPU": 3.0}])
    on_gpu = config(1, rollout_gpus=1.0, threads=2)
    assert not fits(on_gpu, {"CPU": 8.0}, {"CPU": 1.0, "GPU": 1.0})


def test_a_gpu_is_kept_for_those_that_need_one():
    run = config(3, 1, device="cuda")
    assert fits(run, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 3.0})


@pytest.mark.parametrize(("device", "needed"), [("auto", 1), ("cuda", 1), ("cpu", 0)])
def test_learners_take_gpus_where_there_are_any(device, needed):
    bundles = resources.demand(config(0, 2, device=device), gpus=4.0)
    assert [bundle["GPU"] for bundle in bundles] == [needed, needed]


def test_no_gpu_is_asked_for_where_there_is_none():
    assert fits(config(0, 2, device="auto"), {"CPU": 2.0})
    assert not fits(config(0, 2, device="cuda"), {"CPU": 2.0})


@given(
    workers=st.integers(1, 6),
    threads=st.integers(1, 4),
    machines=st.lists(st.integers(0, 8), min_size=1, max_size=4),
)
def test_actors_alike_fit_where_their_machines_have_room(workers, threads, machines):
    room = sum(cpus // threads for cpus in machines)
    supply = [{"CPU": float(cpus)} for cpus in machines]
    assert fits(config(workers, threads=threads), *supply) == (workers <= room)


def test_this_machine(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(resources, "num_cpus", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    resources.check_machine(config(2))
    resources.check_machine(config(0))
    with pytest.raises(UserError, match="need 3 CPUs and this machine has 2"):
        resources.check_machine(config(3))
    with pytest.raises(UserError, match="need 2 GPUs and this machine has 0"):
        resources.check_machine(config(2, rollout_gpus=1.0))
    resources.check_machine(config(3, address="127.0.0.1:6379"))  # asked once it is joined
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    resources.check_machine(config(3))


def test_where_a_job_writes(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    relative = Path("runs/x")
    assert not environment.in_job()
    assert environment.lasting(relative) == tmp_path / "runs" / "x"
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert environment.in_job()
    assert environment.lasting(tmp_path / "x") == tmp_path / "x"
    with pytest.raises(UserError, match="--out runs/x is relative"):
        environment.lasting(relative)


def test_gpus_of_rollout_workers_may_be_on_other_machines(monkeypatch, text, tmp_path):
    """What is built here, to see that it can be, is built without them."""

    class ReachedError(Exception):
        pass

    def join(config: TrainConfig) -> None:
        assert config.rollout_gpus == 1.0
        raise ReachedError

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(train, "_join_cluster", join)
    command = f"--task {text} --out {tmp_path / 'run'} --learner seqgan --device cpu"
    with pytest.raises(ReachedError):
        train.run([*command.split(), "--rollout-workers", "1", "--rollout-gpus", "1"])


@pytest.mark.parametrize("url", ["s3://bucket/run", "gs://bucket/run", "file:///tmp/run"])
def test_a_run_is_written_to_a_file_system(url):
    with pytest.raises(UserError, match="is an URL: give a folder"):
        environment.lasting(Path(url))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--rollout-workers 1 --rollout-gpus 1", "need 1 GPUs and {where} has 0"),
        ("--rollout-workers 1000", "need 1000 CPUs and {where} has {cpus}"),
        ("--learner-workers 1 --threads 1000", "need 1000 CPUs and {where} has {cpus}"),
    ],
)
def test_what_cannot_be_had_is_said_at_once(head, text, tmp_path, joined, words, line):
    """Nothing is written, and no actor is waited for."""
    if torch.cuda.is_available() and "gpus" in words:
        pytest.skip("this machine has a GPU")
    address = ["--address", head.address] if joined else []
    command = f"train --task {text} --out {tmp_path / 'run'} --policy.hidden 8 --learner psi_mle"
    ended = head.run("python", "-m", "rubout", *command.split(), *words.split(), *address)
    assert ended.returncode == 2, ended.stderr
    cpus = 2 if joined else environment.num_cpus()
    where = "the cluster" if joined else "this machine"
    assert line.format(where=where, cpus=cpus) in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_a_cluster_that_is_joined_with_another_token(head, text, tmp_path):
    command = f"train --task {text} --out {tmp_path / 'run'} --learner psi_mle --rollout-workers 1"
    words = ["-m", "rubout", *command.split(), "--address", head.address]
    ended = head.run("python", *words, RAY_AUTH_TOKEN="0" * 64)
    assert ended.returncode == 2, ended.stderr
    said = ended.stderr.splitlines()[-1]
    assert said.startswith(f"rubout train: error: the Ray cluster at {head.address} cannot be")
    assert "RAY_AUTH_TOKEN" in said
