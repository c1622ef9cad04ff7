"""What Ray reads from the environment, set before Ray is imported: it looks only once."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import socket
import sys
from pathlib import Path

from rubout.errors import UserError

_INLINE_BYTES = 2**20  # results up to this size; Ray's own limit is a tenth of it


def is_remote(address: str | None) -> bool:
    """Whether a run joins a cluster, at `address` or `$RAY_ADDRESS`, instead of starting one."""
    address = address or os.environ.get("RAY_ADDRESS")
    return bool(address) and address != "local"


def in_job() -> bool:
    """Whether this process was started by `ray job submit`."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def lasting(path: Path, flag: str = "--out") -> Path:
    """Where something is to be written, absolute.

    A submitted job begins in a copy of what was submitted, which Ray deletes. And what is written
    is renamed when it is whole, which takes a file system.

    Args:
        path: as the user gave it.
        flag: the option it was given with.

    Raises:
        UserError: it is an URL, or relative in a submitted job.
    """
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(path)):
        raise UserError(
            f"{flag} {path} is an URL: give a folder; on a cluster, one that all machines mount"
        )
    if in_job() and not path.is_absolute():
        raise UserError(
            f"{flag} {path} is relative: a submitted job runs in a folder that Ray deletes; give "
            f"an absolute path, on storage that outlives the cluster"
        )
    return path.resolve()


def unanswered(address: str, timeout_s: float = 5.0) -> str | None:
    """Why nothing answers at `host:port`; None where something does, or no port is named."""
    host, _, port = re.sub(r"^[a-z]+://", "", address).rstrip("/").rpartition(":")
    if not port.isdigit() or not host:
        return None
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return None


def has_ray() -> bool:
    """Whether ray can be imported; does not import it."""
    try:
        return importlib.util.find_spec("ray") is not None
    except ImportError:  # something on the import path forbids it
        return False


def num_cpus() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def prepare(address: str | None) -> None:
    """Make ready for `cluster.connect(address)`; call it before anything imports ray.

    A cluster of our own takes a token that lives in the environment of this process and of its
    children alone. One that exists already has its own: see Ray's RAY_AUTH_MODE.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if is_remote(address) or "ray" in sys.modules:
        return
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # Parts of rollouts come with the answer instead of through the object store: less to do.
    os.environ.setdefault("RAY_max_direct_call_object_size", str(_INLINE_BYTES))
    # Actors import the project and the user's plug-ins as this process does.
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, str(Path.cwd()), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
