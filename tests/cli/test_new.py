"""`rubout new`: what it writes works as it stands, and nothing of the user's is written over."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from rubout.learner import Alone, Context
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.tape import written
from rubout.types import ActionSpace, Sequences

ROOT = Path(__file__).parents[2]
NAMES = {"learner": "mine", "reward": "endings", "task": "counting", "policy": "last_two"}
USES = {
    "learner": ["--learner mine:Mine --task python-docs"] * 2,
    "reward": ["--learner seqgan --reward endings:Endings --task python-docs"] * 2,
    "task": ["--task counting:Counting", "--learner psi_mle --task counting:Counting"],
    "policy": [
        "--policy last_two:LastTwo --task python-docs",
        "--learner psi_mle --policy last_two:LastTwo --task python-docs",
    ],
}


def python(folder: Path, *words: str) -> str:
    """What `python -m WORDS` prints in a folder; it must end well."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *words]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def folder(rubout, tmp_path_factory) -> Path:
    """A folder with a plug-in of each kind, and nothing else."""
    path = tmp_path_factory.mktemp("plug-ins")
    for kind, name in NAMES.items():
        ended = rubout("new", kind, name, "--out", path)
        assert ended.code == 0, ended.err
        assert ended.err == ""
    return path


@pytest.fixture
def refused(rubout, tmp_path, monkeypatch):
    """Runs `rubout new` in an empty folder, which must fail as a user's error; gives the line."""
    monkeypatch.chdir(tmp_path)

    def refused(*words: object) -> str:
        before = {path: path.is_file() and path.read_text() for path in tmp_path.rglob("*")}
        ended = rubout("new", *words)
        assert ended.code == 2, ended
        assert ended.err.count("\n") == 1, ended.err
        assert ended.out == ""
        after = {path: path.is_file() and path.read_text() for path in tmp_path.rglob("*")}
        assert after == before
        return ended.err

    return refused


def test_what_is_written_passes_its_own_tests(folder):
    out = python(folder, "pytest", "-q", "-p", "no:cacheprovider")
    assert "10 passed" in out, out


def test_what_is_written_is_as_tidy_as_the_rest(folder):
    for words in (["check"], ["format", "--check"]):
        python(folder, "ruff", *words, "--no-cache", "--config", str(ROOT / "pyproject.toml"), ".")


@pytest.mark.ray
@pytest.mark.slow
def test_all_of_it_runs_with_actors(folder):
    words = "--updates 4 --batch-size 8 --evaluate-every 4 --log-every 1 --device cpu"
    words += " --learner mine:Mine --task counting:Counting --policy last_two:LastTwo"
    words += " --reward endings:Endings --reward.ending 1 --rollout-workers 2 --out run"
    out = python(folder, "rubout", "train", *words.split())
    assert "2 Ray actors" in out
    assert "note: 160 different sequences" in out
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").open()]
    trained = [line for line in lines if line["kind"] == "train"]
    assert len(trained) == 4
    names = ("loss", "entropy", "rollout/reward/Endings", "rollout/reward/Endings/length")
    assert all(name in line for line in trained for name in names)


def test_the_gradient_of_the_learners_entropy_is_exact(rubout, tmp_path, monkeypatch):
    """In the mean over all triples of the seven sequences that two tokens make."""
    assert rubout("new", "learner", "entropic", "--out", tmp_path).code == 0
    monkeypatch.syspath_prepend(tmp_path)
    cls = importlib.import_module("entropic").Entropic
    sys.modules.pop("entropic")
    space = ActionSpace(2, 2)
    torch.manual_seed(0)
    config = LSTMConfig(embedding=3, hidden=3, init_std=0.8)
    policy = LSTMPolicy(space, config).double()
    texts = [list(text) for size in range(3) for text in itertools.product(range(2), repeat=size)]
    every = written(space, Sequences.of(texts))
    log_probs_B = policy.score(every, {"log_probs"}).log_probs_BT.sum(1)
    probs_B = log_probs_B.exp()
    assert float(probs_B.detach().sum()) == pytest.approx(1, rel=1e-6)
    expected = -log_probs_B[3] + 0.3 * (probs_B * log_probs_B).sum()
    parameters = [parameter for parameter in policy.parameters() if parameter.requires_grad]
    exact = torch.autograd.grad(expected, parameters, retain_graph=True)

    context = Context(space, 3, torch.device("cpu"), Alone())
    learner = cls(policy, cls.Config(entropy=0.3), context)
    losses = []
    monkeypatch.setattr(learner, "step", lambda loss, *_, **__: losses.append(loss) or 0.0)
    total = 0
    for triple in itertools.product(range(len(texts)), repeat=3):
        learner.update(every[torch.tensor([3])], every[torch.tensor(triple)])
        total = total + probs_B[list(triple)].prod().detach() * losses.pop()
    found = torch.autograd.grad(total, parameters)
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("kind", NAMES)
def test_it_says_what_to_type_next(rubout, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    name = NAMES[kind]
    ended = rubout("new", kind, name)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.py", f"test_{name}.py"]
    alone, with_actors = USES[kind]
    assert ended.out.partition("next:\n")[2].splitlines() == [
        f"  python -m pytest test_{name}.py",
        f"  rubout train {alone} --out runs/{name}",
        f"  rubout train {with_actors} --out runs/{name}-actors --rollout-workers 2",
    ]


def test_another_folder(rubout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()  # a mere folder is not in the way
    ended = rubout("new", "task", "mine", "--out", "a b/c")
    assert (tmp_path / "a b" / "c" / "mine.py").is_file()
    assert "  cd 'a b/c'\n" in ended.out


@pytest.mark.parametrize(
    ("kind", "name", "parts"),
    [
        ("lerner", "mine", ["unknown kind 'lerner'", "did you mean learner?"]),
        ("learner", "nine-lives", ["'nine-lives'"]),
        ("learner", "9lives", ["'9lives'"]),
        ("learner", "../mine", ["'../mine'"]),
        ("learner", "class", ["'class'"]),
        ("learner", "none", ["'none'"]),
        ("learner", "_", ["'_'"]),
        ("learner", "numpy", ["a module numpy already"]),
        ("learner", "json", ["a module json already"]),
        ("task", "envs", ["a module envs already"]),
        ("reward", "learners", ["a module learners already"]),
        ("reward", "sys", ["a module sys already"]),
        ("learner", "learner", ["a class Learner, a name already in use"]),
        ("reward", "request", ["a class Request, a name already in use"]),
        ("task", "valueError", ["a class ValueError, a name already in use"]),
    ],
)
def test_what_is_refused(refused, kind, name, parts):
    line = refused(kind, name)
    assert line.startswith("rubout new: error: ")
    for part in parts:
        assert part in line


@pytest.mark.parametrize("file", ["mine.py", "test_mine.py"])
def test_a_file_is_never_overwritten(refused, tmp_path, file):
    (tmp_path / file).write_text("of value")
    assert f"{file} exists" in refused("learner", "mine")


def test_a_module_of_that_name_elsewhere(refused, tmp_path):
    (tmp_path / "taken.py").write_text("")
    assert "a module taken already" in refused("learner", "taken", "--out", "other")


def test_the_program_itself_is_a_module_too(refused, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)  # as under `rubout`
    assert "a module __main__ already" in refused("task", "__main__")


def test_out_that_cannot_be_made(refused, tmp_path):
    (tmp_path / "file").write_text("of value")
    assert "cannot be written" in refused("task", "mine", "--out", "file/folder")


def test_what_is_missing(refused):
    assert "NAME" in refused("learner").upper()


def test_help(rubout):
    ended = rubout("new", "--help")
    assert ended.code == 0
    for part in ("usage: rubout new", "learner, reward, task or policy", "(default: "):
        assert part in ended.out


def test_a_wheel_has_the_skeletons():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]["rubout"]
    packed = {path for pattern in patterns for path in (ROOT / "rubout").glob(pattern)}
    skeletons = [*(ROOT / "rubout" / "cli" / "skeletons").iterdir()]
    assert len(skeletons) == 2 * len(NAMES)
    assert packed.issuperset(skeletons)
