"""Small runs: in this process, and as programs of their own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rubout.learner import Alone
from rubout.rollout.sampler import EnvConfig
from rubout.training import checkpoint, setup
from rubout.training.checkpoint import RunState
from rubout.training.config import TrainConfig
from rubout.training.run_folder import RunFolder
from rubout.training.start import start

ROOT = Path(__file__).parents[2]
PSI_MLE = {"mle_updates": 1, "warmup": 1, "ratio_lr": 0.01}
# Slips, and rollouts that are used again, from the second update on.
SEQUENCE_MATCH = {
    "noise": {"rate": 0.2},
    "alpha": 0.5,
    "gamma": 0.9,
    "bc_updates": 1,
    "anneal_updates": 3,
    "sample_every": 2,
    "capacity": 2,
    "stride": 2,
}
LEARNERS: dict[str, dict[str, Any]] = {"psi_mle": PSI_MLE, "sequence_match": SEQUENCE_MATCH}


@pytest.fixture(autouse=True)
def _one_thread(tmp_path, monkeypatch):
    monkeypatch.setenv("RUBOUT_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> Path:
    """A corpus of 60 lines."""
    source = random.Random(0)
    words = "the a cat dog sees hears old red house tree and".split()  # noqa: SIM905
    lines = [" ".join(source.choices(words, k=source.randint(2, 8))) for _ in range(60)]
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def config(text):
    """A config of a small run, with other values where given."""

    def config(learner: str = "mle", **values: Any) -> TrainConfig:
        # A large rate: every update must change what is sampled next.
        learner_options = {"lr": 0.05} | LEARNERS.get(learner, {})
        dropout = values.pop("dropout", 0.3)
        small: dict[str, Any] = {
            "learner": learner,
            "task": "text",
            "task_options": {"path": str(text)},
            "policy_options": {"embedding": 8, "hidden": 8, "dropout": dropout},
            "learner_options": learner_options,
            "env": EnvConfig(backspace=learner == "sequence_match"),
            "batch_size": 8,
            "updates": 4,
            "evaluate_every": 2,
            "checkpoint_every": 1,
            "log_every": 1,
            "samples": 2,
            "rollout_batch": 8,
            "device": "cpu",
        }
        return TrainConfig(**small | values)

    return config


@pytest.fixture
def train():
    """Trains, or goes on, in this process."""

    def train(config: TrainConfig, path: Path, report=lambda _: None) -> RunState:
        if (path / "config.json").exists():
            folder = RunFolder.existing(path)
        else:
            folder = RunFolder.fresh(path)
            task = setup.build_task(config)
            folder.write_vocabulary(task.codec, setup.action_space(config, task))
        folder.write_config(config)
        state, _ = start(config, folder, Alone(), torch.device("cpu"), report)
        return state

    return train


def _weights(path: Path, name: str = "policy") -> dict[str, torch.Tensor]:
    newest = checkpoint.last(path / "checkpoints")
    return load_file(newest / f"{name}.safetensors")


@pytest.fixture(scope="session")
def weights():
    """A module's weights in a run's last checkpoint."""
    return _weights


@pytest.fixture(scope="session")
def same():
    """Whether two runs ended with the same weights, bit for bit."""

    def same(one: Path, other: Path, name: str = "policy") -> bool:
        a, b = _weights(one, name), _weights(other, name)
        return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)

    return same


@pytest.fixture
def command(text, tmp_path):
    """`rubout train` as a program: gives a started process and the words it was started with."""

    def command(out: str, *words: str, resume: bool = False) -> subprocess.Popen[str]:
        start = ["--out", out, "--resume"] if resume else ["--out", out, "--task", str(text)]
        line = [sys.executable, "-m", "rubout", "train", *start, *words]
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("RAY_")
        }
        return subprocess.Popen(
            line,
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return command


@pytest.fixture
def finish():
    """Waits for a program to end well; gives what it printed."""

    def finish(process: subprocess.Popen[str], timeout: float = 200) -> str:
        try:
            out, err = process.communicate(timeout=timeout)
        finally:
            process.kill()
        assert process.returncode == 0, f"{out[-2000:]}\n{err[-4000:]}"
        return out

    return finish
