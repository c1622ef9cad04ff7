"""Options to plain JSON and back."""

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest

from rubout import plugins
from rubout.errors import UserError
from rubout.options import from_dict, to_dict


@dataclass(frozen=True)
class Inner:
    width: int = 3
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Files:
    one: Path
    word: str
    other: Path | None = None


@dataclass(frozen=True)
class Outer:
    name: str
    rate: float = 0.5
    inner: Inner = field(default_factory=Inner)
    limit: int | None = None
    places: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"rate must not be negative, not {self.rate}")


@pytest.mark.parametrize(
    "options",
    [
        Outer("a"),
        Outer("b", 0.25, Inner(7, (4,)), 9, (1, 2)),
        Outer("c", inner=Inner(sizes=())),
    ],
)
def test_round_trip(options: Outer) -> None:
    values = json.loads(json.dumps(to_dict(options)))
    assert from_dict(Outer, values) == options


@pytest.mark.parametrize("kind", ["learner", "policy", "task"])
def test_round_trip_of_all_that_come_with_it(kind: plugins.Kind) -> None:
    for name in plugins.names(kind):
        config: Any = plugins.find(kind, name).Config  # type: ignore[attr-defined]
        needed = {item.name for item in fields(config)} - set(vars(config))
        options = config(**{"path": Path("/x")} if "path" in needed else {})
        values = json.loads(json.dumps(to_dict(options)))
        assert from_dict(config, values) == options, name


def test_a_path_is_kept_absolute_and_comes_back_as_a_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "word").mkdir()  # of the name of a plain option's value
    values = to_dict(Files(Path("a.txt"), "word"))
    assert values == {"one": str(tmp_path / "a.txt"), "word": "word", "other": None}
    assert from_dict(Files, values) == Files(tmp_path / "a.txt", "word")


def test_what_is_missing_takes_its_default() -> None:
    assert from_dict(Outer, {"name": "a", "inner": {"width": 1}}) == Outer("a", inner=Inner(1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "a", "rote": 1}, r"unknown option learner\.rote \(did you mean rate\?\)"),
        (
            {"name": "a", "inner": {"wdth": 1}},
            r"unknown option learner\.inner\.wdth \(did you mean width\?\)",
        ),
        ({"name": "a", "qqq": 1}, r"unknown option learner\.qqq \(known: inner, limit, name"),
        ({"name": "a", "rate": -1.0}, "rate must not be negative, not -1.0"),
        ({}, "missing 1 required positional argument: 'name'"),
    ],
)
def test_mistakes(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_dict(Outer, values, "learner.")
