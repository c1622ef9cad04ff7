"""Joining or starting a Ray cluster, and whether it can hold a run."""

from __future__ import annotations

import os

import ray

from rubout.errors import UserError
from rubout.rollout.environment import is_remote, num_cpus, unanswered


def connect(address: str | None = None) -> None:
    """Join the cluster at `address` or `$RAY_ADDRESS`, or start one on this machine alone.

    A cluster of our own takes a token (see `environment.prepare`) and ends with the process. Ray
    listens beyond loopback even so: the token is what keeps others out.

    Raises:
        UserError: nothing answers at the address, or what answers does not let us in.
    """
    if ray.is_initialized():
        return
    if is_remote(address):
        where = address or os.environ["RAY_ADDRESS"]
        problem = unanswered(where)  # Ray itself retries for ten minutes where nothing listens
        if problem:
            raise UserError(f"no Ray cluster answers at {where}: {problem}")
        try:
            ray.init(address=where, log_to_driver=True)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UserError(_refused(where, error)) from error
        return
    ray.init(
        address="local",
        num_cpus=num_cpus(),
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )


def machines() -> list[dict[str, float]]:
    """CPUs, GPUs and whatever else each living machine of the cluster has, idle."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def _refused(where: str, error: Exception) -> str:
    """Ray says that it could not connect, and to the log alone that the token was wrong."""
    reason = str(error).strip().partition("\n")[0]
    if isinstance(error, ConnectionError):
        reason += (
            "; it may have another token: see RAY_AUTH_MODE, RAY_AUTH_TOKEN, ~/.ray/auth_token"
        )
    return f"the Ray cluster at {where} cannot be joined: {reason}"
