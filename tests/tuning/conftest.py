from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def tune(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts `rubout tune` in a process of its own, in the test's folder."""

    def tune(*words: object) -> subprocess.Popen[str]:
        given = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        environ = given | {"RUBOUT_CACHE": str(tmp_path / "cache"), "PYTHONUNBUFFERED": "1"}
        environ["PYTHONPATH"] = str(Path(__file__).parents[2])
        return subprocess.Popen(
            [sys.executable, "-m", "rubout", "tune", *map(str, words)],
            cwd=tmp_path,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return tune
