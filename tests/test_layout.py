"""Where things lie, and what may import ray."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("rubout", "envs", "learners", "tune_configs")
MAY_IMPORT_RAY = {
    "rubout/rollout/cluster.py",
    "rubout/rollout/worker.py",
    "rubout/rollout/fleet.py",
    "rubout/training/ray_train.py",
}

# Runs `python -m rubout` or any code where ray cannot be found.
WITHOUT_RAY = """
import importlib.abc, runpy, sys

class NoRay(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ray":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, NoRay())
"""


@pytest.fixture
def without_ray(tmp_path):
    """Runs code in a Python that has no ray; gives what it printed."""

    def without_ray(code: str, *words: object) -> str:
        ended = subprocess.run(
            [sys.executable, "-c", WITHOUT_RAY + code, *map(str, words)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return without_ray


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_the_four_packages_share_one_folder():
    parents = set()
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        assert spec is not None, name
        assert spec.origin is not None, f"{name} has no __init__.py"
        parents.add(Path(spec.origin).resolve().parents[1])
    assert parents == {ROOT}


def test_only_a_few_files_import_ray():
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    assert len(files) > 40
    importing = {str(path.relative_to(ROOT)) for path in files if "ray" in imported(path)}
    assert importing - {file for file in importing if file.startswith("rubout/tuning/")} == (
        MAY_IMPORT_RAY
    )


def test_learners_and_envs_do_not_import_each_other_or_the_runtime():
    for name, stranger in (("envs", "learners"), ("learners", "envs")):
        for path in (ROOT / name).rglob("*.py"):
            assert stranger not in imported(path), path


def test_everything_but_the_actors_imports_where_ray_is_not_installed(without_ray):
    printed = without_ray(
        "import rubout.policies, rubout.evaluation, rubout.rollout.sampler, envs, learners\n"
        "import rubout.training.loop, rubout.training.start, rubout.cli.train\n"
        "import rubout.rollout.source, learners.mle, learners.psi_mle\n"
        "print('ray' in sys.modules)\n"
        "try:\n"
        "    import ray\n"
        "except ImportError:\n"
        "    print('blocked')\n"
    )
    assert printed.split() == ["False", "blocked"]


def test_train_evaluate_and_generate_run_where_ray_is_not_installed(without_ray, tmp_path):
    corpus = tmp_path / "text.txt"
    corpus.write_text("".join(f"line {number % 7} of this text\n" for number in range(60)))
    out = tmp_path / "run"
    printed = without_ray(
        "from rubout.cli.main import main\n"
        "small = ['--updates=2', '--batch-size=8', '--policy.hidden=8', '--samples=2']\n"
        "psi = ['--learner=psi_mle', '--learner.mle-updates=1', '--learner.warmup=1']\n"
        "workers = ['--rollout-workers=0', '--learner-workers=0']\n"
        "task = ['--task', sys.argv[1]]\n"
        "assert main(['train', *task, '--out', sys.argv[2], *small, *workers, *psi]) == 0\n"
        "assert main(['evaluate', sys.argv[2]]) == 0\n"
        "assert main(['generate', sys.argv[2], '--num', '3']) == 0\n"
        "assert main(['doctor']) in (0, 1)\n"
        "print('ray' in sys.modules)\n",
        corpus,
        out,
    )
    assert printed.endswith("False\n")
    assert (out / "evaluation.json").is_file()


def test_asking_for_actors_where_ray_is_not_installed_is_a_users_error(without_ray, tmp_path):
    corpus = tmp_path / "text.txt"
    corpus.write_text("".join(f"line {number % 7} of this text\n" for number in range(60)))
    printed = without_ray(
        "import contextlib, io\n"
        "from rubout.cli.main import main\n"
        "errors = io.StringIO()\n"
        "words = ['--task', sys.argv[1], '--out', 'run', '--learner-workers', '1']\n"
        "with contextlib.redirect_stderr(errors):\n"
        "    code = main(['train', *words])\n"
        "print(code, errors.getvalue())\n",
        corpus,
    )
    assert printed.startswith("2 rubout train: error: ray is not installed: "), printed
    assert "pip install" in printed
    assert not (tmp_path / "run").exists()
