"""Trials read back from their folders, and the best of them as a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rubout.errors import UserError
from rubout.evaluation.draws import head
from rubout.evaluation.nll import nll
from rubout.learner import Alone
from rubout.options import build_policy
from rubout.search import Search, Uniform
from rubout.training import setup
from rubout.training.run_folder import RunFolder
from rubout.training.start import start
from rubout.tuning import results
from rubout.tuning.options import config_of
from rubout.tuning.results import FAILED, SAMPLE, Trial

BASE = {
    "task": "oracle",
    "task.vocabulary": 9,
    "task.length": 4,
    "task.train": 40,
    "task.validation": 10,
    "task.test": 10,
    "policy.embedding": 4,
    "policy.hidden": 4,
    "batch-size": 8,
    "evaluate-every": 2,
    "evaluate-sequences": 0,
    "checkpoint-every": 2,
}
SEARCH = Search(BASE, {"learner.lr": Uniform(0.0, 1.0)})


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUBOUT_CACHE", str(tmp_path / "cache"))


def trial(out: Path, number: str, updates: int = 4, until: int | None = None, **more: Any) -> Path:
    """A run in a trial's folder, of as many updates as it has, or fewer."""
    folder = RunFolder(out / "trials" / number)
    folder.path.mkdir(parents=True)
    sample = {"learner.lr": 0.01, **more}
    (folder.path / SAMPLE).write_text(json.dumps(sample))
    config = config_of({**BASE, **sample, "updates": updates if until is None else until})
    task = setup.build_task(config)
    folder.write_vocabulary(task.codec, setup.action_space(config, task))
    start(config, folder, Alone(), torch.device("cpu"), lambda _: None)
    folder.write_config(replace(config, updates=updates))
    return folder.path


def test_a_whole_trial_has_the_figures_of_its_checkpoint(tmp_path: Path) -> None:
    path = trial(tmp_path, "00000")
    (found,) = results.read_trials(tmp_path)
    assert (found.number, found.status, found.updates) == ("00000", "whole", 4)
    assert found.sample == {"learner.lr": 0.01}
    folder = RunFolder(path)
    policy = build_policy("lstm", folder.config().policy_options, folder.space())
    checkpoint = setup.load_policy(folder, policy, folder.codec().fingerprint)
    assert checkpoint.name == f"step-{found.update:08d}"
    task = setup.build_task(folder.config())
    for split in ("validation", "test"):
        figure = nll(policy, head(task.split(split), 0)).mean
        assert found.figures[f"nll_{split}"] == pytest.approx(figure, rel=1e-6)


def test_the_last_checkpoint_may_stand_for_a_run(tmp_path: Path) -> None:
    more = {
        "learner": "seqgan",
        "learner.mle-updates": 1,
        "learner.discriminator-warmup": 1,
        "learner.completions": 1,
        "learner.discriminator.embedding": 4,
    }
    path = trial(tmp_path, "00000", **more)
    records = [one for one in RunFolder(path).read_metrics() if one["kind"] == "evaluation"]
    assert results.standing(RunFolder(path)) == records[-1]
    (found,) = results.read_trials(tmp_path)
    assert found.update == 4


def test_what_became_of_trials(tmp_path: Path) -> None:
    trial(tmp_path, "00000")
    trial(tmp_path, "00001", updates=8, until=4)
    trial(tmp_path, "00002", updates=8, until=2)
    failed = trial(tmp_path, "00003", updates=8, until=2)
    (failed / FAILED).write_text(json.dumps({"error": "it diverged"}))
    begun = tmp_path / "trials" / "00004"
    begun.mkdir()
    (begun / SAMPLE).write_text("{}")
    found = {one.number: one for one in results.read_trials(tmp_path, stopped=["00001"])}
    assert {number: one.status for number, one in found.items()} == {
        "00000": "whole",
        "00001": "stopped",
        "00002": "unfinished",
        "00003": "failed",
        "00004": "unfinished",
    }
    assert found["00003"].error == "it diverged"
    assert found["00003"].figures is None
    assert found["00001"].updates == 4


def of(number: str, **figures: float) -> Trial:
    return Trial(number, "whole", {}, figures=figures or None)


def test_the_best() -> None:
    trials = [of("0", nll_validation=3.0), of("1", nll_validation=2.0), of("2")]
    assert results.best(trials, SEARCH) is trials[1]
    assert results.best(trials, replace(SEARCH, mode="max")) is trials[0]
    assert results.best([of("2")], SEARCH) is None
    results.check_metric(trials, SEARCH)
    with pytest.raises(UserError, match="no metric bleu: trials have nll_validation"):
        results.check_metric(trials, replace(SEARCH, metric="bleu"))


def test_the_best_is_an_ordinary_run(tmp_path: Path) -> None:
    trial(tmp_path, "00000")
    (found,) = results.read_trials(tmp_path)
    for _ in range(2):  # whatever was there is replaced
        path = results.export(tmp_path, found)
        (path / "left").touch()
    assert RunFolder.existing(path).config() == RunFolder(tmp_path / "trials/00000").config()
    results.write(tmp_path, [found], SEARCH, found)
    value = json.loads((tmp_path / "results.json").read_text())
    assert value["best"] == "00000"
    assert value["trials"][0]["figures"] == found.figures
