"""Demand and supply of a run, before anything starts; needs no Ray."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from rubout.errors import UserError
from rubout.rollout.environment import is_remote, num_cpus
from rubout.training.config import TrainConfig


def check_machine(config: TrainConfig) -> None:
    """Whether this machine has what the run's actors reserve.

    A run that joins a cluster is checked against the cluster instead, once it is joined.

    Raises:
        UserError: it has not: demand and supply.
    """
    if not config.uses_ray or is_remote(config.address):
        return
    supply = {"CPU": float(num_cpus()), "GPU": float(torch.cuda.device_count())}
    check_fits(config, [supply], "this machine")


def check_fits(
    config: TrainConfig, machines: Iterable[Mapping[str, float]], where: str = "the cluster"
) -> None:
    """Whether machines, idle, could hold the run's actors, each actor on one of them.

    Args:
        config: of the run.
        machines: CPUs and GPUs of each.
        where: what they are together, for the message.

    Raises:
        UserError: they could not: demand and supply.
    """
    machines = list(machines)
    who = (
        f"{config.rollout_workers} rollout and {config.learner_workers} learner workers of "
        f"{config.threads} thread(s)"
    )
    gpus = sum(machine.get("GPU", 0.0) for machine in machines)
    place(demand(config, gpus), machines, who, where)


def place(
    bundles: Iterable[Mapping[str, float]],
    machines: Iterable[Mapping[str, float]],
    who: str,
    where: str,
) -> None:
    """Whether machines, idle, could hold some processes, each of them on one machine.

    Args:
        bundles: CPUs and GPUs of each process.
        machines: CPUs and GPUs of each machine.
        who: the processes are, for the message.
        where: the machines are, for the message.

    Raises:
        UserError: they could not: demand and supply.
    """
    free = [dict(machine) for machine in machines]
    # Those that need a GPU first: they have fewer machines to choose from.
    bundles = sorted(bundles, key=lambda bundle: -bundle["GPU"])
    for kind in ("CPU", "GPU"):
        held = sum(machine.get(kind, 0.0) for machine in free)
        needed = sum(bundle[kind] for bundle in bundles)
        if needed > held:
            raise UserError(
                f"{who} need {needed:g} {kind}s and {where} has {held:g}: ask for fewer, or join "
                f"a larger cluster with --address"
            )
    for bundle in bundles:
        room = (m for m in free if all(m.get(kind, 0.0) >= n for kind, n in bundle.items()))
        machine = next(room, None)
        if machine is None:
            raise UserError(
                f"{who} do not fit: each takes {bundle['CPU']:g} CPUs and {bundle['GPU']:g} GPUs "
                f"of one machine, and no machine of {where} has as much left: ask for fewer, or "
                f"for fewer --threads"
            )
        for kind, amount in bundle.items():
            machine[kind] = machine.get(kind, 0.0) - amount


def demand(config: TrainConfig, gpus: float) -> list[dict[str, float]]:
    """What each actor of the run reserves.

    Args:
        config: of the run.
        gpus: GPUs there are: with `--device auto`, learner workers take one each where any is.

    Returns:
        CPUs and GPUs of each actor.
    """
    learns_on_gpu = config.device == "cuda" or (config.device == "auto" and gpus > 0)
    rollout = {"CPU": float(config.threads), "GPU": config.rollout_gpus}
    learner = {"CPU": float(config.threads), "GPU": float(learns_on_gpu)}
    return [rollout] * config.rollout_workers + [learner] * config.learner_workers
