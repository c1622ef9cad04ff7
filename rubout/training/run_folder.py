"""A RUN folder: config.json, vocabulary.json, metrics.jsonl, checkpoints/, samples/, events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rubout.errors import UserError
from rubout.files import replacing, room_for, write_json
from rubout.options import from_dict, to_dict
from rubout.task import Codec
from rubout.tasks.codecs import codec_from_json
from rubout.training.config import TrainConfig
from rubout.types import ActionSpace

RESUME = "--resume goes on from the last checkpoint"


class RunFolder:
    """Paths of a run, and how its files are read and written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.metrics = path / "metrics.jsonl"
        self.evaluation = path / "evaluation.json"
        self.sweep = path / "sweep.json"

    @staticmethod
    def existing(path: Path) -> RunFolder:
        """A folder that holds a run.

        Raises:
            UserError: it does not.
        """
        if not (path / "config.json").is_file():
            raise UserError(f"{path} holds no run (there is no config.json in it)")
        return RunFolder(path)

    @staticmethod
    def fresh(path: Path) -> RunFolder:
        """A folder for a new run.

        Raises:
            UserError: it holds something already, or cannot be made.
        """
        RunFolder.check_vacant(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {path} cannot be made: {error.strerror}") from error
        return RunFolder(path)

    @staticmethod
    def check_vacant(path: Path) -> None:
        """Whether a new run may be written here; makes nothing.

        Raises:
            UserError: there is something already.
        """
        if (path / "config.json").exists():
            raise UserError(f"{path} holds another run: choose another --out, or add --resume")
        if path.exists() and not path.is_dir():
            raise UserError(f"--out {path} is a file")
        if path.is_dir() and any(path.iterdir()):
            raise UserError(f"--out {path} is not empty")

    def write_config(self, config: TrainConfig) -> None:
        """Write config.json."""
        write_json(self.path / "config.json", to_dict(config))

    def config(self) -> TrainConfig:
        """Read config.json.

        Raises:
            UserError: it is damaged.
        """
        return from_dict(TrainConfig, self._json("config.json"))

    def write_vocabulary(self, codec: Codec, space: ActionSpace) -> None:
        """Write what generating needs and no corpus can give later."""
        values = {"codec": codec.to_json(), "space": asdict(space)}
        write_json(self.path / "vocabulary.json", values)

    def codec(self) -> Codec:
        """The run's own codec."""
        return codec_from_json(self._vocabulary("codec"))

    def space(self) -> ActionSpace:
        """The run's own action space, backspace included where it has one."""
        return from_dict(ActionSpace, self._vocabulary("space"))

    def append_metrics(self, record: Mapping[str, object]) -> None:
        """One line of metrics.jsonl, on disk when this returns."""
        with room_for(self.metrics, RESUME), self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """All whole lines of metrics.jsonl."""
        if not self.metrics.exists():
            return []
        records = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                continue  # the line a crash cut short
        return records

    def rewind_metrics(self, update: int) -> None:
        """Drop lines after `update`: a resumed run writes them again."""
        kept = [record for record in self.read_metrics() if record["update"] <= update]
        with replacing(self.metrics) as temporary:
            temporary.write_text(
                "".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8"
            )

    def _vocabulary(self, part: str) -> Any:
        value = self._json("vocabulary.json")
        if not isinstance(value, dict) or not isinstance(value.get(part), dict):
            raise UserError(f"{self.path / 'vocabulary.json'} is damaged: it has no {part}")
        return value[part]

    def _json(self, name: str) -> Any:
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} cannot be read: {error}") from error
