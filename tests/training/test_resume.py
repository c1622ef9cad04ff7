"""Stopped and resumed is never stopped."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from rubout.training import checkpoint

PATHS = ("policy", "ratio")


def metrics(path):
    """metrics.jsonl without clocks."""
    records = [json.loads(line) for line in (path / "metrics.jsonl").open()]
    return [
        {key: value for key, value in record.items() if key not in {"time", "seconds_per_update"}}
        for record in records
    ]


@pytest.mark.parametrize("learner", ["mle", "psi_mle", "sequence_match"])
@pytest.mark.parametrize("staleness", [0, 1])
@pytest.mark.parametrize("policy", ["lstm", "transformer"])
def test_two_updates_and_two_more_are_four(
    config, train, same, tmp_path, learner, staleness, policy
):
    values = {"staleness": staleness, "policy": policy}
    if policy == "transformer":
        values["policy_options"] = {"dropout": 0.3}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config(learner, updates=5, **values), whole)
    train(config(learner, updates=2, **values), parts)
    train(config(learner, updates=5, **values), parts)
    assert final_state(whole) == final_state(parts)
    for name in PATHS if learner == "psi_mle" else PATHS[:1]:
        assert same(whole, parts, name)
    assert metrics(whole) == metrics(parts)


def final_state(path):
    return checkpoint.read_state(checkpoint.last(path / "checkpoints"))


class Killed(BaseException):
    """Not an error that anything may catch."""


@pytest.mark.parametrize("learner", ["mle", "psi_mle", "sequence_match"])
@pytest.mark.parametrize("staleness", [0, 1, 3])
@pytest.mark.parametrize("checkpoint_every", [1, 2])
def test_interrupted_in_mid_run_and_resumed_is_never_interrupted(
    config, train, same, tmp_path, learner, staleness, checkpoint_every
):
    given = config(
        learner, updates=7, staleness=staleness, checkpoint_every=checkpoint_every, log_every=1
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(given, whole)

    def interrupt(record):
        if record["update"] == 4:
            raise Killed

    with pytest.raises(Killed):
        train(given, parts, interrupt)
    assert checkpoint.read_state(checkpoint.last(parts / "checkpoints")).update < 4
    assert metrics(parts)[-1]["update"] == 4, "lines after the checkpoint are to be written anew"
    train(given, parts)
    assert final_state(whole) == final_state(parts)
    for name in PATHS if learner == "psi_mle" else PATHS[:1]:
        assert same(whole, parts, name)
    assert metrics(whole) == metrics(parts)


def test_what_is_used_again_is_of_the_run(config, train, same, tmp_path):
    """A resumed run that began with an empty buffer would be another one."""
    path = tmp_path / "run"
    train(config("sequence_match", updates=4, checkpoint_every=4), path)
    newest = checkpoint.last(path / "checkpoints")
    memory = checkpoint.load_memory(newest)
    assert [int(part.policy_version_B[0]) for part in memory.values()] == [1, 3]
    assert all(len(part) == 8 for part in memory.values())
    manifest = json.loads((newest / "manifest.json").read_text())
    assert "memory.npz" in manifest


def test_slips_are_at_work_in_these_tests(config, train, same, tmp_path):
    given = config("sequence_match", updates=2)
    options = given.learner_options | {"noise": {"rate": 0.0}}
    train(given, tmp_path / "with")
    train(replace(given, learner_options=options), tmp_path / "without")
    assert not same(tmp_path / "without", tmp_path / "with")


def test_dropout_is_at_work_in_these_tests(config, train, same, tmp_path):
    train(config(dropout=0.0), tmp_path / "without")
    train(config(dropout=0.3), tmp_path / "with")
    assert not same(tmp_path / "without", tmp_path / "with")


def test_staleness_matters_in_these_tests(config, train, same, tmp_path):
    for staleness in (0, 1):
        train(config("psi_mle", staleness=staleness), tmp_path / str(staleness))
    assert not same(tmp_path / "0", tmp_path / "1")


def test_a_finished_run_resumes_to_itself(config, train, same, tmp_path):
    state = train(config(), tmp_path / "run")
    before = metrics(tmp_path / "run")
    assert replace(train(config(), tmp_path / "run"), learner={}) == state
    assert metrics(tmp_path / "run") == before


def test_a_line_cut_short_by_a_crash_is_dropped(config, train, same, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(config(), whole)
    train(config(updates=2), parts)
    with (parts / "metrics.jsonl").open("a") as file:
        file.write('{"update": 3, "kind": "tr')
    train(config(), parts)
    assert metrics(whole) == metrics(parts)


OPTIONS = (
    "--learner psi_mle --learner.mle-updates 5 --learner.warmup 5 --policy.dropout 0.3 "
    "--policy.hidden 16 --policy.embedding 16 --batch-size 8 --staleness 1 --updates {updates} "
    "--checkpoint-every 20 --evaluate-every 50 --log-every 1 --samples 2 --device cpu"
)


@pytest.mark.slow
def test_kill_9_and_resume(command, finish, same, tmp_path):
    words = OPTIONS.format(updates=120).split()
    killed = command("killed", *words)
    lines = tmp_path / "killed" / "metrics.jsonl"
    until = time.monotonic() + 60
    while not (lines.exists() and lines.read_text().count("\n") >= 53):
        assert time.monotonic() < until, killed.communicate(timeout=5)
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.005)
    killed.kill()
    killed.communicate()
    at = checkpoint.read_state(checkpoint.last(tmp_path / "killed" / "checkpoints")).update
    assert 0 < at < 120
    finish(command("killed", resume=True))
    finish(command("whole", *words))
    for name in PATHS:
        assert same(tmp_path / "whole", tmp_path / "killed", name)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "killed")
