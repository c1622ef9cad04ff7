"""What one trial takes of a cluster, and whether it is there; needs no Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rubout.training.config import TrainConfig
from rubout.training.resources import place
from rubout.training.setup import uses_rollouts

_DRIVER_CPUS = 0.01  # of a trial that only waits for learner workers: a whole one could deadlock


@dataclass(frozen=True)
class Demand:
    """One trial.

    Attributes:
        cpus: of the trial's own process, where it learns itself.
        gpus: of the same.
        workers: rollout actors.
        worker_cpus: each.
        worker_gpus: each, or a fraction.
        learners: Ray Train workers, which reserve for themselves.
        learner_cpus: each.
        learner_gpus: each.
    """

    cpus: float
    gpus: float
    workers: int
    worker_cpus: float
    worker_gpus: float
    learners: int
    learner_cpus: float
    learner_gpus: float

    @staticmethod
    def of(config: TrainConfig) -> Demand:
        """What a run with this config takes."""
        gpus = 1.0 if config.device == "cuda" else 0.0
        alone = not config.learner_workers
        return Demand(
            cpus=config.threads if alone else _DRIVER_CPUS,
            gpus=gpus if alone else 0.0,
            workers=config.rollout_workers if uses_rollouts(config) else 0,
            worker_cpus=config.threads,
            worker_gpus=config.rollout_gpus,
            learners=config.learner_workers,
            learner_cpus=config.threads,
            learner_gpus=gpus,
        )

    def bundles(self) -> list[dict[str, float]]:
        """The placement group of a trial: itself first, then each of its rollout actors."""
        first = {"CPU": self.cpus, "GPU": self.gpus}
        return [first, *[{"CPU": self.worker_cpus, "GPU": self.worker_gpus}] * self.workers]

    def fits(self, machines: Sequence[Mapping[str, float]], where: str) -> int:
        """How many trials fit at a time, by the sums of what there is.

        Args:
            machines: CPUs and GPUs of each, idle.
            where: what they are together, for the message.

        Raises:
            UserError: not one does: demand and supply.
        """
        learners = [{"CPU": self.learner_cpus, "GPU": self.learner_gpus}] * self.learners
        every = [*self.bundles(), *learners]
        place(every, machines, "the processes of one trial", where)
        counts = []
        for kind in ("CPU", "GPU"):
            needed = sum(bundle[kind] for bundle in every)
            held = sum(machine.get(kind, 0.0) for machine in machines)
            if needed:
                counts.append(int(held / needed + 1e-9))
        return max(1, min(counts, default=1))
