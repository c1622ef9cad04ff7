"""What a report is made of: all that the files of a RUN folder say, checked."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from rubout.errors import UserError
from rubout.report.documents import Evaluation, Sweep
from rubout.report.samples import Sample, read_samples
from rubout.training import checkpoint
from rubout.training.config import TrainConfig
from rubout.training.run_folder import RunFolder

T = TypeVar("T")

_SAMPLES = re.compile(r"update-\d+\.jsonl")
_EVENTS = re.compile(r"events\.out\.tfevents\.\d+\.(.+)")  # TensorBoard's: time, then host


@dataclass(frozen=True)
class Run:
    """A RUN folder.

    Attributes:
        path: of the folder.
        config: its options.
        config_text: config.json as it stands.
        metrics: lines of metrics.jsonl, each with a number as its `update`.
        evaluation: None where the run has none.
        sweep: None where the run has none.
        samples: a few of the newest update that has any.
        sampled_at: that update.
        update: the last that was logged or kept, 0 where there is none.
        facts: what else the folder knows, by what it is called.
    """

    path: Path
    config: TrainConfig
    config_text: str
    metrics: tuple[Mapping[str, Any], ...] = ()
    evaluation: Evaluation | None = None
    sweep: Sweep | None = None
    samples: tuple[Sample, ...] = ()
    sampled_at: int = 0
    update: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)


def read_run(path: Path) -> Run:
    """All that a report needs of a run.

    Raises:
        UserError: there is none, or one of its files is damaged.
    """
    folder = RunFolder.existing(path)
    metrics = read_metrics(folder)
    update = max((int(record["update"]) for record in metrics), default=0)
    kept = checkpoint.checkpoints(folder.checkpoints)
    fingerprint = ""
    if kept:
        state = _reading(kept[-1] / "state.json", lambda: checkpoint.read_state(kept[-1]))
        update, fingerprint = max(update, int(state.update)), str(state.fingerprint)
    sampled_at, samples = _samples(folder)
    return Run(
        path=path,
        config=_config(folder),
        config_text=(path / "config.json").read_text(encoding="utf-8"),
        metrics=metrics,
        evaluation=_document(folder.evaluation, Evaluation.read),
        sweep=_document(folder.sweep, Sweep.read),
        samples=samples,
        sampled_at=sampled_at,
        update=update,
        facts=_facts(folder, metrics, fingerprint),
    )


def _config(folder: RunFolder) -> TrainConfig:
    """The options of a run, of the kinds they should be of."""
    path = folder.path / "config.json"
    try:
        config = folder.config()
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    parts = ("learner", "task", "policy")
    is_named = all(isinstance(getattr(config, part), str) for part in parts)
    given = [getattr(config, f"{part}_options") for part in (*parts, "reward")]
    if not (is_named and isinstance(config.seed, int) and isinstance(config.updates, int)):
        raise UserError(f"{path} is damaged: a name is no text, or a number is none")
    if not all(isinstance(options, dict) for options in given):
        raise UserError(f"{path} is damaged: the options of a part are no JSON object")
    return config


def _document(path: Path, read: Callable[[Mapping[str, Any]], T]) -> T | None:
    """A JSON document of a run, or None where there is none."""
    if not path.exists():
        return None
    return _reading(path, lambda: read(json.loads(path.read_text(encoding="utf-8"))))


def read_metrics(folder: RunFolder) -> tuple[Mapping[str, Any], ...]:
    """Lines of metrics.jsonl, each with a number as its `update`; none where there is no file.

    Raises:
        UserError: it is damaged.
    """

    def checked() -> tuple[Mapping[str, Any], ...]:
        records = folder.read_metrics()
        for record in records:
            if not math.isfinite(float(record["update"])):
                raise ValueError("an update is no number")
        return tuple(records)

    return _reading(folder.metrics, checked)


def _samples(folder: RunFolder) -> tuple[int, tuple[Sample, ...]]:
    """The newest update with samples, and some of them."""
    files = [
        path for path in folder.samples.glob("update-*.jsonl") if _SAMPLES.fullmatch(path.name)
    ]
    if not files:
        return 0, ()
    newest = max(files)
    update = int(newest.stem.removeprefix("update-"))
    codec, space = folder.codec(), folder.space()
    return update, _reading(newest, lambda: read_samples(newest, codec, space))


def _reading(path: Path, read: Callable[[], T]) -> T:
    """What `read` gives.

    Raises:
        UserError: the file is damaged.
    """
    try:
        return read()
    except KeyError as error:
        raise UserError(f"{path} is damaged: it has no {error}") from error
    except (OSError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error}") from error


def _facts(
    folder: RunFolder, metrics: tuple[Mapping[str, Any], ...], fingerprint: str
) -> dict[str, str]:
    """What a folder happens to know of where and when it was made."""
    hosts = {
        found[1]
        for path in sorted(folder.path.glob("events.out.tfevents.*"))
        if (found := _EVENTS.fullmatch(path.name))
    }
    times = [float(record["time"]) for record in metrics if _is_number(record.get("time"))]
    paces = [record["seconds_per_update"] for record in metrics if "seconds_per_update" in record]
    numbers = [float(pace) for pace in paces if _is_number(pace)]
    facts = {}
    if times:
        facts["logged"] = f"{_when(min(times))} to {_when(max(times))} UTC"
    if numbers:
        facts["seconds per update"] = f"{sum(numbers) / len(numbers):.3g}"
    if hosts:
        facts["host"] = ", ".join(sorted(hosts))
    if fingerprint:
        facts["vocabulary"] = fingerprint
    return facts


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
