"""The JSON documents of a RUN folder as a report reads them: evaluation.json and sweep.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NORMAL = 1.96  # half a 95% interval in standard errors; for files that hold no interval


@dataclass(frozen=True)
class Figure:
    """A figure of one run.

    Attributes:
        mean: of all sequences; may be infinite or not a number.
        low: end of its 95% interval over sequences; None: the file does not know.
        high: the other end.
    """

    mean: float
    low: float | None = None
    high: float | None = None

    @staticmethod
    def read(value: Mapping[str, Any]) -> Figure:
        """From JSON.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        mean, error = float(value["mean"]), value.get("standard_error")
        low, high = value.get("low"), value.get("high")
        if low is None or high is None:
            if error is None:
                return Figure(mean)
            low, high = mean - _NORMAL * float(error), mean + _NORMAL * float(error)
        return Figure(mean, float(low), float(high))


@dataclass(frozen=True)
class Evaluation:
    """evaluation.json.

    Attributes:
        checkpoint: its name.
        num_samples: drawn for the figures of samples.
        temperature: of the model.
        rows: figures by the names of rows; the model's is `model`.
    """

    checkpoint: str
    num_samples: int
    temperature: float
    rows: Mapping[str, Mapping[str, Figure]]

    @staticmethod
    def read(value: Mapping[str, Any]) -> Evaluation:
        """From JSON; see `Figure.read`."""
        rows = {str(row["name"]): _figures(row) for row in value["rows"]}
        checkpoint, samples = str(value["checkpoint"]), int(value["num_samples"])
        return Evaluation(checkpoint, samples, float(value.get("temperature", 1.0)), rows)


@dataclass(frozen=True)
class SweepPoint:
    """One temperature of a sweep: 1 / T, and the figures there."""

    multiplier: float
    figures: Mapping[str, Figure]


@dataclass(frozen=True)
class SweepRow:
    """One policy of a sweep.

    Attributes:
        points: in the file's order.
        summary: what they come to: numbers, or mappings of numbers.
    """

    points: tuple[SweepPoint, ...]
    summary: Mapping[str, Any]


@dataclass(frozen=True)
class Sweep:
    """sweep.json: the figures on its two axes, and its policies by the names of their rows."""

    quality: str
    diversity: str
    rows: Mapping[str, SweepRow]

    @staticmethod
    def read(value: Mapping[str, Any]) -> Sweep:
        """From JSON; see `Figure.read`."""
        rows = {}
        for row in value["rows"]:
            points = tuple(
                SweepPoint(float(point["multiplier"]), _figures(point)) for point in row["points"]
            )
            rows[str(row["name"])] = SweepRow(points, dict(row.get("summary", {})))
        return Sweep(str(value["quality"]), str(value["diversity"]), rows)


def _figures(row: Mapping[str, Any]) -> dict[str, Figure]:
    """The entries of a row that are figures: those with a mean."""
    return {
        str(name): Figure.read(value)
        for name, value in row.items()
        if isinstance(value, Mapping) and "mean" in value
    }
