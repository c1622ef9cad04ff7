"""Joining or starting a Ray cluster, and whether it can hold a run."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

import ray

from rubout.errors import UserError


def available_cpus() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def connect(address: str | None = None) -> None:
    """Join the cluster at `address` or `$RAY_ADDRESS`, or start one on this machine alone.

    A cluster of our own listens on loopback, takes a token that lives only in this process's
    environment and its children's, and ends with the process.

    Raises:
        UserError: nothing answers at the address.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = address or os.environ.get("RAY_ADDRESS")
    if address and address != "local":
        _probe(address)
        ray.init(address=address, log_to_driver=True)
        return
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    # Actors import the project and the user's plug-ins as this process does.
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, str(Path.cwd()), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if path))
    ray.init(
        address="local",
        num_cpus=available_cpus(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
    )


def check_fits(cpus: float, gpus: float) -> None:
    """Whether the cluster, idle, could hold so much.

    Raises:
        UserError: it could not: demand and supply.
    """
    supply = ray.cluster_resources()
    for kind, demand in (("CPU", cpus), ("GPU", gpus)):
        if demand > supply.get(kind, 0.0):
            raise UserError(
                f"the run needs {demand:g} {kind}s and the cluster has {supply.get(kind, 0.0):g}"
            )


def _probe(address: str) -> None:
    """Ray itself retries for ten minutes where nothing listens."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # "auto" and the like
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise UserError(f"no Ray cluster answers at {address}: {error}") from error
