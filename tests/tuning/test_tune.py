"""Whole searches, in processes of their own: Tune, its trials, and what is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rubout.training.run_folder import RunFolder

pytestmark = [pytest.mark.ray, pytest.mark.slow]
Tune = Callable[..., subprocess.Popen[str]]

ROOT = Path(__file__).parents[2]
BASE = """
    "task": "oracle", "task.vocabulary": 9, "task.length": 4, "task.train": 40,
    "task.validation": 20, "task.test": 20, "policy.embedding": 4, "policy.hidden": 4,
    "batch-size": 8, "evaluate-every": 2, "evaluate-sequences": 0, "log-every": 1,
"""


def search(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "space.py"
    names = "Asha, Choice, LogUniform, PopulationBased, Search, Uniform"
    path.write_text(
        f"from rubout.search import {names}\nBASE = {{{BASE}}}\n{textwrap.dedent(text)}"
    )
    return path


def ended(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=280)
    assert process.returncode == code, out + err
    return out, err


def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    return found


def test_a_search_with_a_trial_that_fails(tune: Tune, tmp_path: Path) -> None:
    """One diverges: it is named with its line, the others end well, and the best is a run."""
    path = search(
        tmp_path,
        """
        search = Search(
            {**BASE, "updates": 4, "policy.init": "torch"},
            {"learner.lr": Choice((0.05, 1e38)), "policy.hidden": Choice((4, 6))},
            scheduler=None,
            num_samples=6,
        )
        """,
    )
    out, _ = ended(tune(path, "--out", "found", "--seed", 3), code=1)
    found = results(tmp_path / "found")
    by_rate: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for trial in found["trials"]:
        by_rate[trial["sample"]["learner.lr"] > 1].append(trial)
    assert len(found["trials"]) == 6
    assert by_rate[True]
    assert by_rate[False]
    for trial in by_rate[True]:
        assert (trial["status"], trial["figures"]) == ("failed", None)
        assert "the run has diverged" in trial["error"]
        assert f"trial {trial['number']} failed: " in out
    assert {trial["status"] for trial in by_rate[False]} == {"whole"}
    least = min(by_rate[False], key=lambda trial: float(trial["figures"]["nll_validation"]))
    assert found["best"] == least["number"]
    best = RunFolder.existing(tmp_path / "found" / "best")
    assert best.config().learner_options["lr"] == 0.05
    assert best.config().policy_options["hidden"] == least["sample"]["policy.hidden"]
    # An ordinary run: every other command takes it.
    words = ["evaluate", str(best.path), "--json", "--no-references", "--num-samples", "10"]
    environ = os.environ | {"RUBOUT_CACHE": str(tmp_path / "cache")}
    command = [os.sys.executable, "-m", "rubout", *words]  # type: ignore[attr-defined]
    told = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, check=True)
    figure = json.loads(told.stdout)["rows"][0]["nll_test"]["mean"]
    assert figure == pytest.approx(least["figures"]["nll_test"], rel=1e-6)


def test_kill_9_and_resume(tune: Tune, tmp_path: Path) -> None:
    """What was whole is not run again; what was not goes on; the table has all of it."""
    path = search(
        tmp_path,
        """
        search = Search(
            {**BASE, "updates": 300, "evaluate-every": 50},
            {"learner.lr": LogUniform(1e-3, 1e-1)},
            scheduler=None,
        )
        """,
    )
    words = (path, "--out", "found", "--num-samples", 4, "--max-concurrent", 1)
    process = tune(*words)
    until = time.monotonic() + 240
    second = tmp_path / "found" / "trials" / "00001" / "metrics.jsonl"
    while not (second.exists() and '"evaluation"' in second.read_text()):
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    first = tmp_path / "found" / "trials" / "00000" / "metrics.jsonl"
    before = first.read_text()
    assert '"update": 300' in before

    refused, err = ended(tune(*words[:-2], "--seed", 1, "--resume"), code=2)
    assert "--resume cannot change seed 0 to 1" in err
    assert not refused
    _, err = ended(tune(*words), code=2)
    assert "is not empty: choose another, or add --resume" in err

    ended(tune(*words, "--resume"))
    assert first.read_text() == before
    found = results(tmp_path / "found")
    assert [trial["number"] for trial in found["trials"]] == ["00000", "00001", "00002", "00003"]
    assert {trial["status"] for trial in found["trials"]} == {"whole"}
    assert {trial["updates"] for trial in found["trials"]} == {300}
    lines = [json.loads(line) for line in second.read_text().splitlines()]
    updates = [line["update"] for line in lines if line["kind"] == "train"]
    assert updates == list(range(1, 301))


def test_the_worst_go_on_from_the_best(tune: Tune, tmp_path: Path) -> None:
    """Population-based training: a useless rate is left, with the weights of a useful one."""
    path = search(
        tmp_path,
        """
        search = Search(
            {**BASE, "updates": 16},
            {"learner.lr": Choice((1e-9, 0.05))},
            scheduler=PopulationBased(every=2),
            num_samples=4,
        )
        """,
    )
    ended(tune(path, "--out", "found", "--seed", 2))
    found = results(tmp_path / "found")
    figures = [trial["figures"]["nll_validation"] for trial in found["trials"]]
    assert {trial["status"] for trial in found["trials"]} == {"whole"}
    # A rate of 1e-9 leaves a policy where it begins, at log 9 = 2.197.
    assert min(figures) < 2.15
    moved = [trial for trial in found["trials"] if trial["sample"]["learner.lr"] != 1e-9]
    assert moved


def test_a_trial_with_actors_of_its_own(tune: Tune, tmp_path: Path) -> None:
    """They live in the trial's own reservation, or two CPUs would never hold both."""
    path = search(
        tmp_path,
        """
        search = Search(
            {**BASE, "learner": "cot", "updates": 2, "rollout-workers": 1},
            {"learner.mediator-lr": Uniform(0.001, 0.01)},
            num_samples=2,
        )
        """,
    )
    out, _ = ended(tune(path, "--out", "found"))
    assert {trial["status"] for trial in results(tmp_path / "found")["trials"]} == {"whole"}
    assert "trial 00001 ends" in out


def test_a_request_that_can_never_be_met(tune: Tune, tmp_path: Path) -> None:
    path = search(
        tmp_path,
        """
        search = Search(
            {**BASE, "learner": "cot", "rollout-workers": 4000}, {"seed": Choice((0, 1))}
        )
        """,
    )
    out, err = ended(tune(path, "--out", "found"), code=2)
    assert "the processes of one trial need 4001 CPUs and this machine has" in err
    assert not (tmp_path / "found").exists()
    assert not out
