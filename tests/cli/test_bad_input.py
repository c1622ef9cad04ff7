"""What a user gets wrong is said in one line, with exit code 2, before anything is made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def refused(rubout, tmp_path):
    """Runs a command that must fail as a user's error; gives the line without its beginning."""

    def refused(command: str, *words: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        ray_before = "ray" in sys.modules
        ended = rubout(command, *words)
        assert ended.code == 2, ended
        assert ended.err.count("\n") == 1, ended.err
        assert ended.err.endswith("\n")
        start = f"rubout {command}: error: "
        assert ended.err.startswith(start), ended.err
        assert ended.out == ""
        assert sorted(tmp_path.rglob("*")) == before, "something was written"
        assert ("ray" in sys.modules) == ray_before, "ray was imported"
        return ended.err.removeprefix(start).strip()

    return refused


@pytest.fixture
def train(refused, text, tmp_path, small):
    """`rubout train` on a good file, with what is wrong."""

    def train(*words: object, task: object = text) -> str:
        return refused("train", "--task", task, "--out", tmp_path / "out", *small, *words)

    return train


def test_an_unknown_command_names_the_nearest(refused):
    assert refused("trian", "--out", "x") == "unknown command 'trian' (did you mean train?)"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("--learner psi_mel", ["unknown learner 'psi_mel'", "did you mean psi_mle?"]),
        ("--policy lsmt", ["unknown policy 'lsmt'", "did you mean lstm?"]),
        ("--reward bleu", ["unknown reward 'bleu'", "module:Class"]),
        ("--updtes 3", ["unknown option --updtes", "did you mean --updates?"]),
        ("--policy.hiden 3", ["unknown option --policy.hiden", "did you mean --policy.hidden?"]),
        ("--learner.mixture 0.5", ["unknown option --learner.mixture"]),
        ("--env.backspce", ["unknown option --env.backspce", "--env.backspace?"]),
        ("--updates abc", ["--updates", "'abc'"]),
        ("--updates", ["--updates", "Missing value"]),
        ("--updates 0", ["--updates must be at least 1"]),
        ("--patience -1", ["--patience must not be negative"]),
        ("--device tpu", ["--device", "'tpu'"]),
        ("--learner psi_mle --learner.mixture 3", ["learner.mixture", "between 0 and 1", "3"]),
        ("--learner psi_mle --learner.ratio free", ["learner.ratio free", "logistic"]),
        ("--learner.lr -1", ["learner.lr", "must not be negative"]),
        ("--policy.dropout 2", ["policy.dropout", "[0, 1)"]),
        ("--policy.hidden 0", ["policy.hidden", "at least 1"]),
        ("--env.max-actions 0", ["max_actions must be at least 1"]),
        ("--init nowhere", ["nowhere", "holds no run"]),
        ("--resume", ["holds no run"]),
        ("--learner behavioural_cloning", ["behavioural_cloning needs --env.backspace", "mle"]),
        (
            "--learner sequence_match --learner.noise.rate 0.1",
            ["learner.noise.rate needs --env.backspace"],
        ),
        (
            "--learner sequence_match --env.backspace --learner.noise.rate 2",
            ["learner.noise.rate must be between 0 and 1, not 2"],
        ),
        (
            "--learner sequence_match --learner.divergence hellinge",
            ["unknown learner.divergence 'hellinge'", "did you mean hellinger?"],
        ),
        ("--learner sequence_match --learner.divergence no:one", ["learner.divergence no:one: "]),
        (
            "--learner sequence_match --learner.divergence forward-kl --learner.terminal zero",
            ["learner.divergence forward-kl", "it needs learner.terminal eos"],
        ),
        ("--learner sequence_match --learner.stride 9", ["learner.stride must be at most"]),
        (
            "--learner sequence_match --learner.stride 5 --learner-workers 2",
            ["learner.stride must be at most"],
        ),
        ("--batch-size 9 --learner-workers 2", ["--batch-size 9", "2 learners"]),
        ("--learner-workers 2 --rollout-workers 3", ["--rollout-workers 3", "2 learners"]),
    ],
)
def test_an_option(train, words, parts):
    line = train(*words.split())
    for part in parts:
        assert part in line, line


def test_a_terminal_value_where_nothing_ends_by_eos(train):
    small = "--task.vocabulary 9 --task.length 3 --task.train 20 --task.validation 5 --task.test 5"
    words = ["--learner", "sequence_match", "--learner.terminal", "eos", *small.split()]
    assert "learner.terminal eos needs a task whose" in train(*words, task="oracle")


def test_an_unknown_task_names_the_nearest(train):
    line = train(task="python_dox")
    assert "unknown task 'python_dox'" in line
    assert "did you mean python_docs?" in line or "did you mean python-docs?" in line


def test_out_is_required(refused, text):
    assert "--out" in refused("train", "--task", text)


def test_a_run_is_required(refused):
    assert "RUN" in refused("generate").upper()
    assert "holds no run" in refused("evaluate", "nowhere")
    assert "holds no run" in refused("generate", "nowhere")


def test_one_line_whatever_the_message_holds(refused):
    assert "no where holds no run" in refused("evaluate", "no\nwhere")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (None, ["there is no file"]),
        (b"", ["is empty"]),
        (b" \n\n", ["is empty"]),
        (b"good line\n\xff\xfe bad\n", ["not UTF-8", "0xff", "line 2"]),
        (b"one line\n", ["too few lines"]),
    ],
)
def test_a_file(train, tmp_path, content, parts):
    path = tmp_path / "data.txt"
    if content is not None:
        path.write_bytes(content)
    line = train(task=path)
    assert str(path) in line
    for part in parts:
        assert part in line, line


def test_a_folder_is_not_a_file(train, tmp_path):
    assert "is a folder" in train(task=tmp_path)


def test_sentences_that_are_too_long_are_counted(train, sentences):
    line = train("--task.max-length", 6)
    long = sum(len(sentence.split()) > 6 for sentence in sentences)
    counts = [int(word) for word in line.replace(",", "").split() if word.isdigit()]
    assert sum(counts[0:6:2]) == long > 0, line
    assert sum(counts[1:6:2]) == len(sentences), line
    assert "max_length=6" in line
    assert "the longest 7" in line


def test_more_workers_than_cpus(train):
    cpus = len(os.sched_getaffinity(0))
    line = train("--rollout-workers", 1000)
    assert "need 1000 CPUs" in line
    assert f"has {cpus}" in line
    line = train("--learner-workers", 500, "--threads", 4, "--batch-size", 500)
    assert "need 2000 CPUs" in line


def test_cuda_where_there_is_none(train, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device cuda" in train("--device", "cuda")


def test_out_holds_another_run(refused, run, text, small):
    line = refused("train", "--task", text, "--out", run, *small)
    assert "holds another run" in line
    assert "--resume" in line


def test_out_is_taken_before_the_data_are_read(refused, run, tmp_path):
    assert "holds another run" in refused("train", "--task", tmp_path / "no.txt", "--out", run)


def test_out_is_a_file_or_holds_something_else(refused, text, tmp_path, small):
    (tmp_path / "file").write_text("mine")
    assert "is a file" in refused("train", "--task", text, "--out", tmp_path / "file", *small)
    assert "is not empty" in refused("train", "--task", text, "--out", tmp_path, *small)


def test_out_that_cannot_be_made(refused, text, tmp_path, small):
    (tmp_path / "file").write_text("mine")
    line = refused("train", "--task", text, "--out", tmp_path / "file" / "run", *small)
    assert "cannot be made" in line


@pytest.mark.parametrize(
    ("source", "name", "parts"),
    [
        ("import nothing_of_this_name\n", "Mine", ["does not import", "nothing_of_this_name"]),
        ("def (:\n", "Mine", ["does not import", "SyntaxError"]),
        ("raise RuntimeError('two\\nlines')\n", "Mine", ["does not import", "RuntimeError: two"]),
        ("class Mina: ...\n", "Mine", ["has no Mine", "did you mean Mina?"]),
        ("class Mine: ...\n", "Mine", ["not a subclass of rubout.learner.Learner"]),
        ("def Mine(): ...\n", "Mine", ["not a subclass of rubout.learner.Learner"]),
        (
            "from rubout.learner import Learner\nclass Mine(Learner): ...\n",
            "Mine",
            ["does not define", "update", "optimizers"],
        ),
        (
            "from rubout.learner import Learner\n"
            "class Mine(Learner):\n"
            "    def update(self, data, rollouts): return {}\n"
            "    def optimizers(self): return {}\n",
            "Mine",
            ["has no Config"],
        ),
    ],
)
def test_a_plug_in(train, tmp_path, monkeypatch, request, source, name, parts):
    module = f"plug_in_{abs(hash(request.node.name))}"
    (tmp_path / f"{module}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    line = train("--learner", f"{module}:{name}")
    assert module in line
    for part in parts:
        assert part in line, line


def test_a_plug_in_that_is_not_there(train):
    line = train("--learner", "no_such_module:Mine")
    assert "no_such_module does not import" in line


def _newest(run: Path) -> Path:
    return sorted((run / "checkpoints").iterdir())[-1]


@pytest.fixture(params=["resume", "evaluate", "generate"])
def opens(request, refused, small):
    """Each way to open a run's newest checkpoint."""
    words = {
        "resume": lambda run: ("train", "--out", run, "--resume", "--updates", 9),
        "evaluate": lambda run: ("evaluate", run, "--checkpoint", "last"),
        "generate": lambda run: ("generate", run, "--checkpoint", "last"),
    }[request.param]
    return lambda run: refused(*words(run))


@pytest.mark.parametrize("name", ["policy.safetensors", "state.json", "optimizers.pt"])
def test_a_truncated_checkpoint(opens, run, name):
    path = _newest(run) / name
    path.write_bytes(path.read_bytes()[:-9])
    line = opens(run)
    assert "is damaged" in line
    assert name in line


def test_a_corrupt_checkpoint(opens, run):
    path = _newest(run) / "policy.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # one bit of a weight: it would still load
    path.write_bytes(content)
    assert "is damaged: policy.safetensors" in opens(run)


def test_a_checkpoint_with_a_file_missing_or_no_manifest(opens, run):
    (_newest(run) / "policy.safetensors").unlink()
    assert "policy.safetensors is missing" in opens(run)
    (_newest(run) / "manifest.json").write_text("{")
    assert "manifest.json" in opens(run)


def test_a_run_without_a_checkpoint(refused, run):
    for path in (run / "checkpoints").iterdir():
        path.rename(path.with_name("gone" + path.name))
    assert "holds no checkpoint" in refused("generate", run)
    assert "holds no checkpoint" in refused("evaluate", run)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"codec": 3, "space": 4}'])
def test_a_damaged_vocabulary(refused, run, content):
    (run / "vocabulary.json").write_text(content)
    assert "vocabulary.json" in refused("generate", run)


@pytest.mark.parametrize("content", ["{", "[]", '{"updtes": 3}', '{"updates": "many"}'])
def test_a_damaged_config(refused, run, content):
    (run / "config.json").write_text(content)
    refused("generate", run)
    refused("train", "--out", run, "--resume")


def test_starting_from_a_run_with_another_vocabulary(refused, trained, tmp_path, small):
    other = tmp_path / "other.txt"
    other.write_text("entirely different words here\n" * 30)
    line = refused("train", "--task", other, "--init", trained, "--out", tmp_path / "out", *small)
    assert "of another vocabulary" in line


def test_starting_from_a_run_with_another_network(train, trained):
    assert "does not fit this network" in train("--init", trained, "--policy.hidden", 9)


def test_a_vocabulary_that_was_replaced(opens, run):
    path = run / "vocabulary.json"
    value = json.loads(path.read_text())
    tokens = value["codec"]["tokens"]
    tokens[1], tokens[2] = tokens[2], tokens[1]
    path.write_text(json.dumps(value))
    assert "vocabulary" in opens(run)


def test_data_that_changed_under_a_run(refused, rubout, tmp_path, text, small):
    mine, out = tmp_path / "mine.txt", tmp_path / "out"
    mine.write_text(text.read_text())
    assert rubout("train", "--task", mine, "--out", out, *small).code == 0
    mine.write_text("entirely different words here\n" * 30)
    assert "data have changed" in refused("train", "--out", out, "--resume", "--updates", 9)
    assert "data have changed" in refused("evaluate", out)


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("--seed 7", "--seed 0 to 7"),
        ("--batch-size 4", "--batch-size 8 to 4"),
        ("--learner.lr 0.1", "--learner.lr 0.005 to 0.1"),
        ("--policy.hidden 9", "--policy.hidden 8 to 9"),
        ("--learner psi_mle", "--learner mle to psi_mle"),
        ("--env.backspace", "--env.backspace False to True"),
    ],
)
def test_resume_changes_nothing_that_is_the_run(refused, run, words, change):
    line = refused("train", "--out", run, "--resume", *words.split())
    assert f"--resume cannot change {change}:" in line


def test_a_prompt_that_leaves_no_room(refused, trained):
    line = refused("generate", trained, "--prompt", "the dog looks at the old house")
    assert "7 tokens" in line
    assert "at most 7" in line


@pytest.mark.parametrize(
    "words", ["--num 0", "--temperature 0", "--temperature nan", "--threads 0", "--num x"]
)
def test_an_option_of_generate(refused, trained, words):
    assert words.split()[0] in refused("generate", trained, *words.split())


@pytest.mark.parametrize("words", ["--num-samples 0", "--temperature -1", "--threads 0"])
def test_an_option_of_evaluate(refused, trained, words):
    assert words.split()[0] in refused("evaluate", trained, *words.split())


def test_a_file_to_generate_into_that_cannot_be_written(refused, trained, tmp_path):
    (tmp_path / "file").write_text("mine")
    line = refused("generate", trained, "--out", tmp_path / "file" / "samples.txt")
    assert "cannot be written" in line


@pytest.mark.ray
@pytest.mark.parametrize("how", ["--address", "RAY_ADDRESS"])
def test_a_cluster_that_does_not_answer(text, tmp_path, small, how):
    command = [sys.executable, "-m", "rubout", "train", "--task", text, "--out", tmp_path / "out"]
    command += [*small, "--learner", "psi_mle", "--rollout-workers", "4"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    if how == "RAY_ADDRESS":
        environment[how] = "127.0.0.1:1"
    else:
        command += [how, "127.0.0.1:1"]
    ended = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2, ended
    assert ended.stderr.startswith("rubout train: error: no Ray cluster answers at 127.0.0.1:1")
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
