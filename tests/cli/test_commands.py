"""What the commands do when all is well."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rubout import __version__
from rubout.evaluation.backspaces import TITLES

ROOT = Path(__file__).parents[2]
COMMANDS = ("train", "evaluate", "generate", "watch", "doctor")


def weights(run: Path) -> dict[str, torch.Tensor]:
    newest = sorted((run / "checkpoints").iterdir())[-1]
    return load_file(newest / "policy.safetensors")


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def train(rubout, text, tmp_path, small):
    """Trains into `tmp_path / name`."""

    def train(name: str, *words: object) -> Path:
        out = tmp_path / name
        ended = rubout("train", "--task", text, "--out", out, *small, *words)
        assert ended.code == 0, ended.err
        return out

    return train


def test_a_run_folder_holds_what_is_promised(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"config.json", "vocabulary.json", "metrics.jsonl", "evaluation.json"} <= names
    assert {"checkpoints", "samples"} <= names
    assert any(name.startswith("events.") for name in names)
    checkpoints = sorted(path.name for path in (trained / "checkpoints").iterdir())
    assert checkpoints == ["step-00000003", "step-00000006"]
    samples = sorted((trained / "samples").iterdir())
    assert [path.name for path in samples] == ["update-00000003.jsonl", "update-00000006.jsonl"]
    records = [json.loads(line) for line in samples[0].read_text().splitlines()]
    assert len(records) == 4
    assert {"text", "actions", "log_prob", "terminated"} <= records[0].keys()
    assert not list(trained.rglob(".*")), "temporary files were left behind"


def test_metrics_are_json_lines(trained):
    records = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    updates = [record for record in records if record["kind"] == "train"]
    assert [record["update"] for record in updates] == [1, 2, 3, 4, 5, 6]
    assert all("loss" in record for record in updates)
    evaluations = [record for record in records if record["kind"] == "evaluation"]
    assert [record["update"] for record in evaluations] == [3, 6]
    assert all({"nll_validation", "nll_test"} <= record.keys() for record in evaluations)


def test_train_prints_table_samples_and_what_to_type_next(rubout, text, tmp_path, small):
    out = tmp_path / "out"
    ended = rubout("train", "--task", text, "--out", out, *small)
    for row in ("model", "unigram", "uniform", "NLL test", "10 samples of mle:", "next:"):
        assert row in ended.out, ended.out
    assert "rubout generate" in ended.out
    assert "\x1b" not in ended.out, "colours belong on a terminal"
    assert ended.err == ""


def test_the_same_seed_gives_the_same_weights_and_another_does_not(train, trained):
    assert same(trained, train("again"))
    assert not same(trained, train("other", "--seed", 1))


def test_config_json_reproduces_the_run(trained, tmp_path):
    from rubout.learner import Alone
    from rubout.training import setup
    from rubout.training.run_folder import RunFolder
    from rubout.training.start import start

    config = RunFolder.existing(trained).config()
    folder = RunFolder.fresh(tmp_path / "again")
    start(config, folder, Alone(), setup.torch_device(config.device), lambda _: None)
    assert same(trained, folder.path)


def test_training_makes_the_model_better(train):
    run = train("long", "--updates=300", "--evaluate-every=300", "--learner.lr=0.02")
    rows = json.loads((run / "evaluation.json").read_text())["rows"]
    figures = {row["name"]: row["nll_test"]["mean"] for row in rows}
    assert figures["model"] < figures["unigram"] - 1 < figures["uniform"]


def test_resume_goes_on(rubout, train, run):
    ended = rubout("train", "--out", run, "--resume", "--updates", 8)
    assert ended.code == 0, ended.err
    assert json.loads((run / "config.json").read_text())["updates"] == 8
    assert same(run, train("whole", "--updates", 8))


def test_patience_stops_early(train):
    # A learning rate of nothing: no evaluation is better than the first.
    words = ["--updates=50", "--evaluate-every=1", "--patience=3", "--learner.lr=0"]
    run = train("early", *words)
    updates = [json.loads(line)["update"] for line in (run / "metrics.jsonl").open()]
    assert max(updates) == 4
    assert (run / "checkpoints" / "step-00000004").is_dir()


def test_keep_bounds_the_checkpoints(train):
    run = train("kept", "--updates=9", "--checkpoint-every=1", "--evaluate-every=9", "--keep=2")
    assert len(list((run / "checkpoints").iterdir())) == 2


def test_generate_gives_as_many_lines_as_asked_for(rubout, trained):
    ended = rubout("generate", trained, "--num", 37)
    assert ended.code == 0
    assert ended.out.count("\n") == 37
    assert ended.err == ""


def test_generate_is_fixed_by_its_seed(rubout, trained):
    texts = [rubout("generate", trained, "--num", 20, "--seed", seed).out for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_generate_does_not_depend_on_how_many_are_asked_for(rubout, trained):
    few, many = (rubout("generate", trained, "--num", num).out for num in (5, 300))
    assert many.startswith(few)


def test_temperature_matters(rubout, run, train):
    run = train("sharp", "--updates=100", "--learner.lr=0.02")
    cold, warm = (
        rubout("generate", run, "--num", 50, "--temperature", temperature).out.splitlines()
        for temperature in (0.1, 3)
    )
    assert len(set(cold)) < len(set(warm)) / 2


def test_generate_traces_every_action(rubout, trained):
    lines = rubout("generate", trained, "--num", 6, "--trace").out.splitlines()
    records = [json.loads(line) for line in lines]
    texts = rubout("generate", trained, "--num", 6).out.splitlines()
    assert [record["text"] for record in records] == texts
    space = json.loads((trained / "vocabulary.json").read_text())["space"]
    for record in records:
        assert all(0 <= action <= space["num_tokens"] for action in record["actions"])
        words = len(record["text"].split())
        assert len(record["actions"]) == words + 1
        assert record["actions"][-1] == space["num_tokens"]  # <eos>


def test_generate_writes_a_file_whole_or_not_at_all(rubout, trained, tmp_path, monkeypatch):
    out = tmp_path / "deep" / "samples.txt"
    ended = rubout("generate", trained, "--num", 5, "--out", out)
    assert out.read_text() == rubout("generate", trained, "--num", 5).out
    assert "5 sequences written" in ended.out
    assert [path.name for path in out.parent.iterdir()] == ["samples.txt"]

    before = out.read_text()

    def torn(self, text, **_):
        with self.open("w") as file:
            file.write(text[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", torn)
    ended = rubout("generate", trained, "--num", 9, "--out", out)
    assert ended.code == 2
    assert "No space left on device" in ended.err
    assert out.read_text() == before
    assert [path.name for path in out.parent.iterdir()] == ["samples.txt"]


def test_generate_starts_with_the_prompt(rubout, trained):
    lines = rubout("generate", trained, "--num", 9, "--prompt", "the dog").out.splitlines()
    assert len(lines) == 9
    assert all(line == "the dog" or line.startswith("the dog ") for line in lines)
    assert len(set(lines)) > 1


def test_unknown_words_are_printed_only_when_asked_for(rubout, trained):
    words = ("generate", trained, "--num", 400, "--seed", 3)
    assert "<unk>" not in rubout(*words).out
    assert "<unk>" in rubout(*words, "--unknown").out
    assert "<unk>" not in rubout(*words, "--trace").out


def test_generate_needs_no_corpus(rubout, tmp_path, text, small):
    mine, out = tmp_path / "mine.txt", tmp_path / "out"
    mine.write_text(text.read_text())
    assert rubout("train", "--task", mine, "--out", out, *small).code == 0
    before = rubout("generate", out, "--num", 8)
    mine.unlink()
    assert rubout("generate", out, "--num", 8) == before
    assert before.code == 0


def test_evaluate_prints_one_json_document(rubout, run):
    ended = rubout("evaluate", run, "--json", "--num-samples", 50)
    assert ended.code == 0
    value = json.loads(ended.out)
    assert [row["name"] for row in value["rows"]] == ["model", "unigram", "uniform"]
    for row in value["rows"]:
        assert row["nll_test"]["mean"] > 0
        assert row["nll_test"]["standard_error"] > 0
    assert json.loads((run / "evaluation.json").read_text()) == value


def test_evaluate_prints_a_table(rubout, run):
    ended = rubout("evaluate", run)
    assert ended.code == 0
    for row in ("model", "unigram", "uniform", "NLL test", "perplexity"):
        assert row in ended.out


def test_best_and_last_are_different_checkpoints(rubout, train):
    # A huge rate makes it worse and worse: the best is an early one.
    run = train("worse", "--learner.lr=3", "--evaluate-every=1", "--updates=12", "--keep=1")
    best, last = (
        json.loads(rubout("evaluate", run, "--json", "--checkpoint", which).out)
        for which in ("best", "last")
    )
    assert last["checkpoint"] == "step-00000012"
    records = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    scored = [(r["nll_validation"], r["update"]) for r in records if r["kind"] == "evaluation"]
    assert best["checkpoint"] == f"step-{min(scored)[1]:08d}" != last["checkpoint"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_gives_options_with_defaults(rubout, command):
    ended = rubout(command, "--help")
    assert ended.code == 0
    assert f"usage: rubout {command}" in ended.out
    assert "(default: " in ended.out


def test_help_of_train_knows_the_options_of_the_parts(rubout):
    out = rubout("train", "--learner", "psi_mle", "--policy", "transformer", "--help").out
    for option in ("--learner.mixture", "--policy.", "--env.backspace", "--updates", "--task."):
        assert option in out


def test_the_program_itself(rubout):
    ended = rubout()
    assert ended.code == 0
    assert all(command in ended.out for command in COMMANDS)
    assert rubout("--help") == ended
    assert rubout("--version").out == f"rubout {__version__}\n"


def test_a_run_with_a_backspace(rubout, train):
    run = train("backspace", "--env.backspace")
    space = json.loads((run / "vocabulary.json").read_text())["space"]
    assert space["backspace"]
    # Nearly uniform: an untrained backspace is rare.
    ended = rubout("generate", run, "--num", 40, "--temperature", 50, "--trace")
    records = [json.loads(line) for line in ended.out.splitlines()]
    backspace = space["num_tokens"] + 1
    rubbed = [record for record in records if backspace in record["actions"]]
    assert rubbed
    for record in records:
        left: list[int] = []
        for action in record["actions"]:
            if action == backspace:
                left.pop()
            elif action < space["num_tokens"]:
                left.append(action)
        assert len(record["text"].split()) == len(left)
    assert rubout("evaluate", run, "--json").code == 0


def test_a_run_with_a_backspace_has_figures_on_it(rubout, train):
    run = train("rubs", "--env.backspace")
    value = json.loads(rubout("evaluate", run, "--json", "--num-samples", 50).out)
    model, *references = value["rows"]
    always = TITLES.keys() - {"backspace_run", "redo_rate"}  # of deletions, if there are any
    assert always <= model.keys()
    assert model["backspace_rate"]["count"] == 50
    assert not any(TITLES.keys() & row.keys() for row in references)
    main, mine = rubout("evaluate", run).out.split("┃ backspaces")
    lines = [line.split("│")[1].strip() for line in main.splitlines() if line.startswith("│")]
    assert [line for line in lines if line] == ["NLL test", "perplexity"]
    for title, meaning in (TITLES[name] for name in always):
        assert title in mine
        assert meaning in mine
    assert "perplexity without" in mine


def test_a_run_without_a_backspace_has_no_figures_on_it(rubout, run):
    value = json.loads(rubout("evaluate", run, "--json", "--num-samples", 50).out)
    assert not any(TITLES.keys() & row.keys() for row in value["rows"])
    assert "backspaces" not in rubout("evaluate", run).out


def test_psi_mle_trains(rubout, train):
    words = ["--learner=psi_mle", "--learner.mle-updates=3", "--learner.warmup=2", "--updates=6"]
    run = train("psi", *words, "--env.backspace")
    records = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    updates = [record for record in records if record["kind"] == "train"]
    assert ["ratio/loss" in record for record in updates] == [False, *[True] * 5]
    assert ["weights/ess" in record for record in updates] == [False, False, False, *[True] * 3]
    newest = sorted((run / "checkpoints").iterdir())[-1]
    assert {"policy.safetensors", "ratio.safetensors"} <= {path.name for path in newest.iterdir()}
    assert rubout("generate", run).code == 0


def test_the_transformer_trains(rubout, text, tmp_path, small):
    others = [word for word in small if not word.startswith("--policy.")]
    out = tmp_path / "out"
    ended = rubout("train", "--task", text, "--out", out, *others, "--policy", "transformer")
    assert ended.code == 0, ended.err
    assert rubout("generate", out).code == 0


PLUG_IN = """
from dataclasses import dataclass

import torch

from rubout.learner import Learner


@dataclass(frozen=True)
class Config:
    pace: float = 0.5
    \"\"\"How far every weight moves.\"\"\"


class Shrink(Learner):
    Config = Config

    def __init__(self, policy, config, context):
        super().__init__(policy, context)
        self.config = config

    def update(self, data, rollouts):
        with torch.no_grad():
            for parameter in self.policy.parameters():
                parameter.mul_(self.config.pace)
        return {"loss": 1.0}

    def optimizers(self):
        return {}
"""


def test_a_learner_of_the_users_own(rubout, text, tmp_path, small):
    (tmp_path / "my_learner.py").write_text(PLUG_IN)
    command = [sys.executable, "-m", "rubout", "train", "--task", text, "--out", "run", *small]
    command += ["--learner", "my_learner:Shrink", "--learner.pace", "0"]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert all(not value.any() for value in weights(tmp_path / "run").values())
    assert json.loads((tmp_path / "run" / "config.json").read_text())["learner_options"] == {
        "pace": 0.0
    }


def test_a_sweep(rubout, run):
    words = ("evaluate", run, "--num-samples", 12, "--sweep", "--multipliers", "0.5", "2")
    ended = rubout(*words)
    assert ended.code == 0, ended.err
    assert "3 temperatures" in ended.out  # that of 1 is always there
    written = json.loads((run / "sweep.json").read_text())
    assert (written["quality"], written["diversity"]) == ("bleu-5", "self-bleu-5")
    assert written["signature"].startswith("n:12|refs:")
    assert f"BLEU: {written['signature']}" in ended.out
    assert [row["name"] for row in written["rows"]] == ["model", "unigram", "training data"]
    model = written["rows"][0]
    assert [point["multiplier"] for point in model["points"]] == [0.5, 1.0, 2.0]
    assert model["summary"].keys() == {
        "best bleu-5",
        "best self-bleu-5",
        "equal temperature",
        "area",
    }
    assert json.loads(rubout(*words, "--json").out)["sweep"] == written
    alone = json.loads(rubout(*words, "--json", "--no-references").out)["sweep"]
    assert alone["rows"] == written["rows"][:1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--multipliers", "1"], "add --sweep"),
        (["--sweep", "--multipliers", "0"], "must be positive"),
        (["--sweep", "--multipliers", "inf"], "must be positive"),
        (["--sweep", "--multipliers", "1e-310"], "must be positive"),
        (["--temperature", "inf"], "must be positive"),
        (["--quality", "--num-samples", "10"], "more than 64 sequences"),
    ],
)
def test_a_sweep_that_cannot_be(rubout, run, words, expected):
    ended = rubout("evaluate", run, *words)
    assert ended.code == 2
    assert expected in ended.err
    assert ended.err.count("\n") == 1


def test_a_baseline_is_paired_with(rubout, run):
    ended = rubout("evaluate", run, "--baseline", run, "--num-samples", 12)
    assert "paired by sequence" in ended.out
    (found,) = json.loads((run / "evaluation.json").read_text())["paired"].values()
    assert found["nll_test"]["mean"] == 0
    assert (found["nll_test"]["low"], found["nll_test"]["high"]) == (0, 0)
