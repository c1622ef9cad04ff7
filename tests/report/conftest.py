"""RUN folders made by hand: what a report says of them is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rubout.report.material import Run, read_run
from rubout.report.page import render
from rubout.rollout.sampler import EnvConfig
from rubout.tasks.codecs import WordCodec
from rubout.training.config import TrainConfig
from rubout.training.run_folder import RunFolder
from rubout.types import ActionSpace

WORDS = ["a", "cat", "dog", "sits", "<b>bold</b>"]
SPACE = ActionSpace(len(WORDS), 8, backspace=True)
EOS, BACK = SPACE.eos_id, SPACE.backspace_id
MADE = datetime(2026, 3, 14, 15, 9, tzinfo=UTC)

MakeRun = Callable[..., Path]


def figure(mean: float, half: float = 0.1) -> dict[str, float]:
    """As in evaluation.json."""
    return {
        "mean": mean,
        "standard_error": half / 1.96,
        "low": mean - half,
        "high": mean + half,
        "count": 100,
    }


def evaluation(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """evaluation.json of some rows."""
    return {
        "checkpoint": "step-00000004",
        "num_samples": 100,
        "temperature": 1.0,
        "unit": "nats per action, <eos> included",
        "rows": [{"name": name, **figures} for name, figures in rows.items()],
    }


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A folder with what is given; what is None is not there."""

    def make(
        name: str = "run",
        *,
        rows: Mapping[str, Mapping[str, Any]] | None = None,
        metrics: Sequence[Mapping[str, Any]] | None = None,
        samples: Sequence[Mapping[str, Any]] | None = None,
        sweep: Mapping[str, Any] | None = None,
        words: Sequence[str] = WORDS,
        **options: Any,
    ) -> Path:
        folder = RunFolder.fresh(tmp_path / "runs" / name)
        values: dict[str, Any] = {"task": "oracle", "updates": 4, "env": EnvConfig(backspace=True)}
        folder.write_config(TrainConfig(**values | options))
        folder.write_vocabulary(WordCodec(words), ActionSpace(len(words), 8, backspace=True))
        if rows is not None:
            folder.evaluation.write_text(json.dumps(evaluation(rows)))
        for record in metrics or ():
            folder.append_metrics(record)
        if samples is not None:
            folder.samples.mkdir()
            lines = "".join(json.dumps(record) + "\n" for record in samples)
            (folder.samples / "update-00000004.jsonl").write_text(lines)
        if sweep is not None:
            folder.sweep.write_text(json.dumps(sweep))
        return folder.path

    return make


@pytest.fixture
def seeds(make_run: MakeRun) -> Callable[..., list[Run]]:
    """Runs of one learner that differ in their seed, by NLL test."""

    def seeds(learner: str, values: Sequence[float], **options: Any) -> list[Run]:
        return [
            read_run(
                make_run(
                    f"{learner}-seed{seed}",
                    rows={"model": {"nll_test": figure(value)}},
                    learner=learner,
                    seed=seed,
                    **options,
                )
            )
            for seed, value in enumerate(values)
        ]

    return seeds


@pytest.fixture
def page() -> Callable[..., str]:
    """A report of folders, always made at the same time."""

    def page(*paths: Path, baseline: str | None = None) -> str:
        return render([read_run(path) for path in paths], MADE, baseline)

    return page


@pytest.fixture
def rich_run(make_run: MakeRun) -> MakeRun:
    """A run with everything a run can have."""

    def rich(name: str = "rich", **options: Any) -> Path:
        seed = options.get("seed", 0)
        learner = options.setdefault("learner", "sequence_match")
        shift = 0.01 * seed + 0.1 * (learner == "mle")
        points = [
            {
                "multiplier": multiplier,
                "temperature": 1 / multiplier,
                "nll_oracle": figure(4 + multiplier + shift),
                "nll_test": figure(5 - multiplier + shift),
            }
            for multiplier in (0.5, 1.0, 2.0)
        ]
        references = {
            "oracle": {"nll_test": figure(2.0), "nll_oracle": figure(2.0)},
            "unigram": {"nll_test": figure(6.0), "nll_oracle": figure(6.5)},
        }
        own = {"nll_test": figure(4 + shift), "nll_oracle": figure(5 + shift)}
        if learner != "mle":
            own["backspace_rate"] = figure(0.03 + shift / 10, 0.001)
        metrics = [
            {"update": 1, "kind": "train", "time": 1.0, "loss": 5.0 + shift},
            {"update": 2, "kind": "train", "time": 2.0, "loss": 4.0 + shift},
            {"update": 2, "kind": "evaluation", "time": 2.0, "nll_test": 4.5 + shift},
            {"update": 4, "kind": "evaluation", "time": 4.0, "nll_test": 4.0 + shift},
        ]
        return make_run(
            name,
            rows={"model": own, **references},
            metrics=metrics,
            samples=[
                {"text": "a dog sits", "log_prob": -3.0, "actions": [0, 1, BACK, 2, 3, EOS]},
                {"text": "a cat", "log_prob": -1.0, "actions": [0, 1, EOS]},
            ],
            sweep={
                "quality": "nll_oracle",
                "diversity": "nll_test",
                "rows": [
                    {
                        "name": "model",
                        "points": points,
                        "summary": {
                            "best nll_oracle": {"value": 4.5 + shift, "multiplier": 0.5},
                            "area": 7.0 + shift,
                        },
                    },
                    {"name": "oracle", "points": points[:2], "summary": {"area": 9.0}},
                ],
            },
            **options,
        )

    return rich
