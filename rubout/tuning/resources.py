"""What one trial takes of a cluster, and whether it is there; needs no Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rubout.errors import UserError
from rubout.training.config import TrainConfig
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
        rest = [{"CPU": self.worker_cpus, "GPU": self.worker_gpus}] * self.workers
        return [{kind: n for kind, n in bundle.items() if n} for bundle in (first, *rest)]

    def total(self) -> dict[str, float]:
        """All of it."""
        held = (
            self.bundles() + [{"CPU": self.learner_cpus, "GPU": self.learner_gpus}] * self.learners
        )
        return {kind: sum(bundle.get(kind, 0.0) for bundle in held) for kind in ("CPU", "GPU")}

    def fits(self, supply: Mapping[str, float]) -> int:
        """How many trials fit into a cluster at a time.

        Raises:
            UserError: none does: demand and supply.
        """
        counts = []
        for kind, demand in self.total().items():
            held = supply.get(kind, 0.0)
            if demand > held:
                raise UserError(
                    f"a trial needs {demand:g} {kind}s and the cluster has {held:g}: ask for less, "
                    f"or join a larger one with --address"
                )
            if demand:
                counts.append(int(held / demand + 1e-9))
        return max(1, min(counts, default=1))
