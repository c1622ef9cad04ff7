"""Demand and supply of a run on this machine, before anything starts."""

from __future__ import annotations

from rubout.errors import UserError
from rubout.rollout.environment import is_remote, num_cpus
from rubout.training.config import TrainConfig


def check_machine(config: TrainConfig) -> None:
    """Whether this machine has the CPUs that the run's actors reserve.

    A run that joins a cluster is checked against the cluster instead, once it is joined.

    Raises:
        UserError: it has not: demand and supply.
    """
    if not config.uses_ray or is_remote(config.address):
        return
    supply = num_cpus()
    workers = config.rollout_workers + config.learner_workers
    demand = workers * config.threads
    if demand > supply:
        raise UserError(
            f"{config.rollout_workers} rollout and {config.learner_workers} learner workers of "
            f"{config.threads} thread(s) need {demand} CPUs and this machine has {supply}: "
            f"ask for fewer, or join a cluster with --address"
        )
