"""A cluster with a token, and a copy of the checkout that no installation knows of."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rubout.rollout.environment import has_ray
from tests.cluster.head import BIN, ROOT, Head, free_ports, stop


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """Two CPUs, ports of its own; every process of it ends with the tests."""
    if not has_ray():  # asked without importing it: other tests set what it reads when it is
        pytest.skip("ray is not installed")
    token = secrets.token_hex(32)
    # Sockets lie in it, and their paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="rubout-"))
    gcs, dashboard, agent, client = free_ports(4)
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
        # A job's `python` is found along the path of whoever started the cluster.
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),  # neither reads nor writes ~/.ray/auth_token
        "RUBOUT_CACHE": str(folder / "cache"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}",
        "RAY_COLOR_PREFIX": "0",
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
    }
    ports = (
        f"--port {gcs} --dashboard-port {dashboard} --dashboard-agent-listen-port {agent} "
        f"--ray-client-server-port {client} --min-worker-port 0 --max-worker-port 0"
    )
    rest = "--num-cpus 2 --disable-usage-stats"
    started = Head("", folder, environment)
    try:
        ended = started.run(
            "ray", "start", "--head", *ports.split(), *rest.split(), "--temp-dir", folder
        )
        assert ended.returncode == 0, ended.stderr
        yield Head(f"127.0.0.1:{gcs}", folder, environment)
    finally:
        stop(folder, token)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory) -> Path:
    """The files of the working tree, and what must not be uploaded."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    copy = tmp_path_factory.mktemp("checkout")
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    for name in (".env", "data/secret.txt", "runs/old/policy.safetensors", "shared/secret.txt"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("not to be uploaded")
    (copy / "mine.py").write_text((Path(__file__).parent / "job_plugins.py").read_text())
    return copy


@pytest.fixture(scope="session")
def text(tmp_path_factory) -> Path:
    """A corpus of 48 lines."""
    lines = ["the cat sees a dog", "a dog hears the old house", "the red tree sees a cat"] * 16
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text("\n".join(lines) + "\n")
    return path
