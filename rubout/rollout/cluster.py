"""Joining or starting a Ray cluster, and whether it can hold a run."""

from __future__ import annotations

import os
import socket

import ray

from rubout.errors import UserError
from rubout.rollout.environment import is_remote, num_cpus


def connect(address: str | None = None) -> None:
    """Join the cluster at `address` or `$RAY_ADDRESS`, or start one on this machine alone.

    A cluster of our own listens on loopback, takes a token (see `environment.prepare`), and ends
    with the process.

    Raises:
        UserError: nothing answers at the address.
    """
    if ray.is_initialized():
        return
    if is_remote(address):
        where = address or os.environ["RAY_ADDRESS"]
        _probe(where)
        ray.init(address=where, log_to_driver=True)
        return
    ray.init(
        address="local",
        num_cpus=num_cpus(),
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
