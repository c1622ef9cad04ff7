"""Dotted names, search files, and that every key of every search reaches what uses it."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rubout.errors import UserError
from rubout.learner import Alone
from rubout.search import Asha, Choice, Search, Uniform
from rubout.training import setup
from rubout.training.config import TrainConfig
from rubout.tuning.options import check, config_of, find_search

ROOT = Path(__file__).parents[2]
FILES = sorted(path for path in ROOT.glob("tune_configs/*.py") if "search = " in path.read_text())
SMALL = {"task": "oracle", "task.vocabulary": 9, "task.train": 20, "task.validation": 5}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUBOUT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def smoke(path: Path) -> Search:
    search = find_search(str(path))
    return replace(search, base={**search.base, **search.smoke})


def test_there_is_a_search_for_every_learner() -> None:
    learners = {path.stem for path in ROOT.glob("learners/*.py")}
    named = {path.stem for path in FILES}
    assert {"mle", "psi_mle", "cot", "seqgan", "sequence_match"} <= named
    assert learners & {"rankgan", "maligan", "leakgan", "behavioural_cloning"} <= named
    assert "compare" in named


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_search_can_be_begun(path: Path) -> None:
    config = check(smoke(path))
    assert config.updates <= 10
    full = find_search(str(path))
    assert full.base.get("learner", "mle") in {config.learner, "mle"}
    assert config_of({**full.base, "learner": config.learner}).updates >= 400


@pytest.mark.parametrize(
    ("path", "key"),
    [(path, key) for path in FILES for key in find_search(str(path)).space],
    ids=lambda value: value.stem if isinstance(value, Path) else value,
)
def test_every_key_reaches_what_uses_it(path: Path, key: str) -> None:
    """The object that reads the option holds the value drawn, whichever it is."""
    search = smoke(path)
    first = {name: domain.ends()[0] for name, domain in search.space.items()}
    seen = []
    for value in search.space[key].ends():
        config = config_of({**search.base, **first, key: value})
        held = held_by(config, key)
        assert held == value
        seen.append(held)
    assert len(set(seen)) == len(search.space[key].ends()) > 1


def held_by(config: TrainConfig, key: str) -> Any:
    """The option where it is used: in the learner, the policy, the task or the loop's config."""
    head, *names = key.replace("-", "_").split(".")
    task = setup.build_task(config)
    learner = setup.build_learner(config, task, Alone(), torch.device("cpu"))
    if head == "learner" and not names:
        return type(learner).__module__.rpartition(".")[2]
    homes: dict[str, Any] = {
        "learner": lambda: learner.config,
        "policy": lambda: policy_options(config, learner),
        "task": lambda: task.config,
    }
    found = homes[head]() if names else config
    for name in names or [head]:
        found = getattr(found, name)
    return found


def policy_options(config: TrainConfig, learner: Any) -> Any:
    from rubout import plugins
    from rubout.options import from_dict

    held = getattr(learner.policy, "config", None)
    if held is not None:
        return held
    options = from_dict(plugins.find("policy", config.policy).Config, config.policy_options)
    if config.policy == "lstm":  # which keeps its dropout as a module
        assert learner.policy.dropout.p == options.dropout
    return options


def test_dotted_names() -> None:
    config = config_of(
        {
            **SMALL,
            "learner": "behavioural_cloning",
            "learner.noise.rate": 0.25,
            "learner.lr-warmup": 7,
            "env.backspace": True,
            "env.max-backspaces": 3,
            "batch-size": 16,
        }
    )
    assert config.learner_options["noise"]["rate"] == 0.25
    assert config.learner_options["lr_warmup"] == 7
    assert (config.env.backspace, config.env.max_backspaces) == (True, 3)
    assert (config.batch_size, config.task_options["vocabulary"]) == (16, 9)


def test_a_file_is_a_text_task(tmp_path: Path) -> None:
    text = tmp_path / "some.txt"
    text.write_text("a b c\n" * 30)
    config = config_of({"task": str(text)})
    assert (config.task, config.task_options["path"]) == ("text", str(text))


def test_a_learner_brings_its_policy() -> None:
    assert config_of({"learner": "leakgan"}).policy == "leakgan"
    assert config_of({"learner": "mle"}).policy == "lstm"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"updtes": 3}, "did you mean updates"),
        ({"learner.lrr": 3}, r"unknown option learner.lrr \(did you mean lr"),
        ({"learner": "mel"}, "did you mean mle"),
        ({"batch-size": 0}, "--batch-size must be at least 1"),
    ],
)
def test_options_that_are_not(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        config_of(options)


def write(path: Path, text: str) -> str:
    path.write_text(textwrap.dedent(text))
    return str(path)


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    name = write(
        tmp_path / "mine.py",
        """
        from rubout.search import Search, Uniform
        search = Search(base={"learner": "mle"}, space={"learner.lr": Uniform(0.1, 0.2)})
        """,
    )
    assert find_search(name).space == {"learner.lr": Uniform(0.1, 0.2)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import nothing_there", "does not import: ModuleNotFoundError"),
        ("serach = 3", r"has no search \(did you mean serach"),
        ("search = 3", "has no search"),
        ("from rubout.search import *\nsearch = Search({}, {})", "its space is empty"),
    ],
)
def test_files_that_hold_no_search(tmp_path: Path, text: str, expected: str) -> None:
    name = write(tmp_path / "odd.py", text)
    with pytest.raises(UserError, match=expected):
        find_search(name)


def test_no_file_at_all() -> None:
    with pytest.raises(UserError, match=r"there is no file gone\.py"):
        find_search("gone.py")
    with pytest.raises(UserError, match="does not import"):
        find_search("no_such_module_here")


def search_of(base: dict[str, Any], **space: Any) -> Search:
    return Search({**SMALL, **base}, space or {"seed": Choice((0, 1))}, scheduler=Asha())


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        (search_of({"out": "x"}), "base has out"),
        (search_of({"learner": "psi_mle"}, **{"learner.mixture": Uniform(0.5, 2.0)}), "mixture"),
        (search_of({"task.vocabulary": 0}), "vocabulary"),
        (search_of({}, **{"learner.hidden": Uniform(0, 1)}), "unknown option learner.hidden"),
        (search_of({"learner": "seqgan", "staleness": 1}), "staleness of at most 0"),
    ],
)
def test_mistakes_show_before_ray(search: Search, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        check(search)
