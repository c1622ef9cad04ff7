"""The command line in this process, and a small run for it to work on."""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest
import torch

from rubout.cli.main import main

SMALL = [
    "--policy.embedding=8",
    "--policy.hidden=8",
    "--batch-size=8",
    "--updates=6",
    "--evaluate-every=3",
    "--checkpoint-every=3",
    "--samples=4",
    "--log-every=1",
    "--device=cpu",
]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


class Rubout(Protocol):
    def __call__(self, *words: object) -> Ended: ...


def call(*words: object) -> Ended:
    """One command in this process."""
    out, err = io.StringIO(), io.StringIO()
    path = list(sys.path)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:  # --help
            code = int(stop.code or 0)
        finally:
            sys.path[:] = path
    return Ended(code, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def _one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setenv("RUBOUT_CACHE", str(tmp_path / "cache"))
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def rubout() -> Rubout:
    """Runs a command: `rubout("generate", run, "--num", 3)`."""
    return call


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Options of a run that takes a moment."""
    return list(SMALL)


@pytest.fixture(scope="session")
def sentences() -> list[str]:
    """60 lines of at most 7 words, some of them rare."""
    source = random.Random(0)
    who = ["a cat", "the dog", "one bird", "two men", "a woman"]
    does = ["sits on", "looks at", "runs past", "eats near"]
    where = ["the mat", "a tree", "the old house", "a red bus"]
    lines = [" ".join(source.choice(words) for words in (who, does, where)) for _ in range(59)]
    return [*lines, "quixotic zebras yawn"]


@pytest.fixture(scope="session")
def text(sentences: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus."""
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n".join(sentences) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; not to be written to."""
    out = tmp_path_factory.mktemp("trained") / "run"
    ended = call("train", "--task", text, "--out", out, *SMALL)
    assert ended.code == 0, ended.err
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to damage or to go on with."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))
