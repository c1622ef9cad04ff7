"""Demand and supply of a run on this machine, before anything starts."""

from __future__ import annotations

import os

from rubout.errors import UserError
from rubout.training.config import TrainConfig


def check_machine(config: TrainConfig) -> None:
    """Whether this machine has the CPUs that the run's actors reserve.

    A run that joins a cluster is checked against the cluster instead, once it is joined.

    Raises:
        UserError: it has not: demand and supply.
    """
    address = config.address or os.environ.get("RAY_ADDRESS")
    if not config.uses_ray or (address and address != "local"):
        return
    supply = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = config.rollout_workers + config.learner_workers
    demand = workers * config.threads
    if demand > (supply or 1):
        raise UserError(
            f"{config.rollout_workers} rollout and {config.learner_workers} learner workers of "
            f"{config.threads} thread(s) need {demand} CPUs and this machine has {supply}: "
            f"ask for fewer, or join a cluster with --address"
        )
