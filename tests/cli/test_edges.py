"""Edges a user may meet: other data, other machines, runs that diverge or end off schedule."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rubout.training import checkpoint


def one_line(ended, *parts):
    assert ended.code == 2, ended.out + ended.err
    assert ended.err.count("\n") == 1
    for part in parts:
        assert part in ended.err


@pytest.mark.parametrize("other", ["other.txt", "oracle"])
def test_resume_refuses_another_task(rubout, run, text, tmp_path, monkeypatch, other):
    monkeypatch.chdir(tmp_path)
    shutil.copy(text, tmp_path / "other.txt")
    before = (run / "config.json").read_text()
    one_line(rubout("train", "--out", run, "--resume", "--task", other), "--resume cannot change")
    assert (run / "config.json").read_text() == before


def test_resume_with_the_same_file_goes_on(rubout, run, text):
    ended = rubout("train", "--out", run, "--resume", "--task", text, "--updates", 7)
    assert ended.code == 0, ended.err


def test_a_file_of_a_tasks_name_does_not_shadow_it(rubout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "oracle").write_text("a b\n" * 50)
    words = ["--task.vocabulary=0", "--out", tmp_path / "r"]
    one_line(rubout("train", "--task", "oracle", *words), "task.vocabulary must be at least 1")


def test_a_mistyped_file_is_a_missing_file(rubout, tmp_path):
    ended = rubout("train", "--task", "nope.csv", "--out", tmp_path / "r")
    one_line(ended, "there is no file", "nope.csv")


def test_a_run_begun_from_another_outlives_it(rubout, run, text, tmp_path, small):
    out = tmp_path / "child"
    words = ["train", "--task", text, "--out", out, "--init", run, *small]
    assert rubout(*words).code == 0
    shutil.rmtree(run)
    ended = rubout("train", "--out", out, "--resume", "--updates", 8)
    assert ended.code == 0, ended.err


def test_a_diverging_run_says_so_and_keeps_its_checkpoints(rubout, text, tmp_path, small):
    out = tmp_path / "wild"
    words = ["--learner.lr=1e38", "--policy.init=torch", "--updates=50", "--checkpoint-every=1"]
    ended = rubout("train", "--task", text, "--out", out, *small, *words)
    one_line(ended, "the run has diverged", "--learner.lr")
    assert checkpoint.checkpoints(out / "checkpoints")
    for line in (out / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("temperature", ["inf", "1e-40", "nan", "0"])
def test_temperatures_that_are_none(rubout, trained, temperature):
    one_line(rubout("generate", trained, "--temperature", temperature), "temperature")


def test_a_run_trained_on_a_gpu_generates_without_one(rubout, run):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | {"device": "cuda"}))
    assert rubout("generate", run, "--num", 2).code == 0
    assert rubout("evaluate", run, "--device", "cpu").code == 0


def test_unknown_words_of_a_prompt_are_named(rubout, trained):
    one_line(rubout("generate", trained, "--prompt", "a zebra cat"), "zebra", "--unknown")
    ended = rubout("generate", trained, "--prompt", "a zebra", "--unknown", "--num", 1)
    assert ended.out.startswith("a <unk>")


def test_sentences_left_out_are_counted_and_said(rubout, text, tmp_path, small):
    words = [
        "--task.max-length=6",
        "--task.holdout=0.4",
        "--task.long=drop",
        "--out",
        tmp_path / "r",
    ]
    ended = rubout("train", "--task", text, *small, *words)
    assert ended.code == 0, ended.err
    assert "note: dropped: " in ended.out
    assert "sentences of more than 6 tokens" in ended.out


def test_an_evaluation_off_schedule_decides_nothing(rubout, text, tmp_path, small):
    """A run that ends between two evaluations and is resumed is the longer run, best and all."""
    once, twice = tmp_path / "once", tmp_path / "twice"
    words = ["train", "--task", text, *small, "--evaluate-every=3"]
    assert rubout(*words, "--updates=9", "--out", once).code == 0
    assert rubout(*words, "--updates=5", "--out", twice).code == 0
    records = [json.loads(line) for line in (twice / "metrics.jsonl").open()]
    assert [r["update"] for r in records if r["kind"] == "evaluation"] == [3, 5]
    assert rubout("train", "--out", twice, "--resume", "--updates", 9).code == 0
    states = [checkpoint.read_state(checkpoint.last(run / "checkpoints")) for run in (once, twice)]
    assert states[0] == states[1]


def test_a_kill_while_pruning_leaves_whole_checkpoints(run, monkeypatch):
    folder = run / "checkpoints"

    def killed(path: Path, *_, **__):
        (Path(path) / "state.json").unlink()
        raise KeyboardInterrupt

    (folder / "step-00000009").mkdir()
    for file in checkpoint.best(folder).iterdir():
        shutil.copy(file, folder / "step-00000009")
    monkeypatch.setattr(checkpoint.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.prune(folder, keep=1)
    for path in checkpoint.checkpoints(folder):
        checkpoint.read_state(path)
        checkpoint.verify(path)


def test_the_next_commands_start_this_program(rubout, text, tmp_path, small):
    ended = rubout("train", "--task", text, "--out", tmp_path / "r", *small)
    following = ended.out.partition("next:")[2]
    assert " generate " in following
    assert " --resume --updates 12" in following


def test_next_commands_of_a_prompted_task_give_a_prompt(rubout, tmp_path, small):
    words = ["--task=arithmetic", "--task.train=20", "--task.validation=5", "--task.test=5"]
    ended = rubout("train", *words, *small, "--out", tmp_path / "r")
    assert ended.code == 0, ended.err
    assert "--prompt 'In base" in ended.out
    assert "exact match" in ended.out


def test_a_prefix_is_gone_on_with(rubout, trained):
    ended = rubout("generate", trained, "--prompt", "a cat", "--prefix", "sits", "--num", 4)
    lines = ended.out.splitlines()
    assert len(lines) == 4
    assert all(line.startswith("a cat sits") for line in lines)
    watched = rubout("watch", trained, "--prompt", "a cat", "--prefix", "sits", "--num", 4)
    assert watched.out.splitlines() == lines


def test_a_prefix_must_be_known_and_leave_room(rubout, trained):
    words = ["generate", trained, "--prompt", "the dog looks at", "--prefix"]
    one_line(rubout(*words, "zebra"), "--prefix", "zebra")
    one_line(rubout(*words, "the old house"), "--prefix", "after 4 of the prompt")


def test_a_baseline_is_shown_beside(rubout, text, trained, tmp_path, small):
    out = tmp_path / "match"
    words = ["--learner=behavioural_cloning", "--env.backspace", "--baseline", trained]
    ended = rubout("train", "--task", text, "--out", out, *words, *small)
    assert ended.code == 0, ended.err
    rows = json.loads((out / "evaluation.json").read_text())["rows"]
    theirs = json.loads((trained / "evaluation.json").read_text())["rows"]
    assert [row["name"][:4] for row in rows] == ["mode", "mle ", "unig", "unif"]
    assert rows[1]["nll_test"] == theirs[0]["nll_test"]
    first, second = ended.out.index("10 samples of mle"), ended.out.index("10 samples of behav")
    assert first < second
    evaluated = json.loads(rubout("evaluate", out, "--baseline", trained, "--json").out)
    assert evaluated["rows"][:2] == rows[:2]


def test_a_baseline_must_fit(rubout, text, trained, tmp_path, small):
    out = tmp_path / "out"
    words = ["train", "--task", text, "--out", out, *small, "--baseline"]
    one_line(rubout(*words, tmp_path / "none"), "none")
    other = tmp_path / "other"
    sums = ["--task=arithmetic", "--task.train=20", "--task.validation=5", "--task.test=5"]
    assert rubout("train", *sums, "--out", other, *small).code == 0
    one_line(rubout(*words, other), "--baseline", "another vocabulary")
    shutil.rmtree(other / "checkpoints")
    one_line(rubout(*words, other), "--baseline")
    assert not out.exists()
