"""Whatever is taken from a run, it ends as if nothing had been, or says in a line how to go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.chaos import FAULTS, SURVIVED

pytestmark = [pytest.mark.chaos, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
ENDINGS = {  # of the faults that a run does not survive: what it says
    "driver": ["exit code -9"],
    "memory_always": ["exit code 2: ", "was lost 5 times", "with fewer --rollout-workers"],
    "disk": ["exit code 2: ", "No space left on device", "--resume goes on from step-000000"],
    "store_and_disk": ["exit code 2: ", "Ray's object store is full", "--resume goes on"],
}
LOST = {  # and was done again, where nothing had to be resumed
    "actor": "with 1 dead actor",
    "node": "with 1 dead actor",
    "learner": "updates since step-000000",
    "memory": "dead actor",
    "store": "nothing",
}


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """Of all faults: undisturbed runs are shared."""
    return tmp_path_factory.mktemp("chaos")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_changes_nothing(fault, out):
    if fault == "disk" and os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    figures = out / f"{fault}.json"
    words = ["--scale", "smoke", "--faults", fault, "--out", str(out), "--json", str(figures)]
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.chaos", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=850,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    outcome = json.loads(figures.read_text())["results"][fault]
    assert outcome["equal"], outcome
    if fault in ENDINGS:
        for part in ENDINGS[fault]:
            assert part in outcome["ending"]
    else:
        assert outcome["ending"] == SURVIVED
        assert LOST[fault] in outcome["lost"]
