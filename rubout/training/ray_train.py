"""Data-parallel learners: the loop on every rank of a Ray Train V2 worker group."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import ray.train
import torch
from ray.train.torch import TorchConfig, TorchTrainer
from torch import Tensor, nn

from rubout.errors import UserError
from rubout.options import from_dict, to_dict
from rubout.rollout.cluster import connect, machines
from rubout.rollout.source import Losses
from rubout.training import checkpoint
from rubout.training.checkpoint import RunState
from rubout.training.config import TrainConfig
from rubout.training.resources import check_fits
from rubout.training.run import Record
from rubout.training.run_folder import RunFolder
from rubout.training.start import start

_POLL_S = 0.5
_TIMEOUT_S = 1800


class TorchGroup:
    """A group of torch.distributed ranks: see `rubout.learner.Group`."""

    def __init__(self) -> None:
        self.rank = torch.distributed.get_rank()
        self.size = torch.distributed.get_world_size()

    def sum(self, value: Tensor) -> Tensor:
        """See `Group.sum`."""
        total = value.detach().clone()
        torch.distributed.all_reduce(total)
        return total

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """See `Group.add_gradients`: one message for all."""
        held = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in held:
            if parameter.grad is None:  # every rank must send the same shapes
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in held if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        torch.distributed.all_reduce(flat)
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def join(config: TrainConfig) -> bool:
    """Join or start the cluster.

    Returns:
        whether the learners get a GPU each.

    Raises:
        UserError: nothing answers, or the cluster is too small.
    """
    connect(config.address)
    check_fits(config, machines())
    return bool(config.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0)


def fit(
    config: TrainConfig, folder: RunFolder, report: Callable[[Record], None]
) -> tuple[RunState, Losses]:
    """Run the loop on `config.learner_workers` ranks; a lost rank resumes from the last checkpoint.

    Args:
        config: the run's options.
        folder: on a file system that every rank sees.
        report: called here with every record that rank 0 writes to metrics.jsonl.

    Returns:
        the final state, and what was lost on the way and made good.

    Raises:
        UserError: the cluster is too small, or a rank said what the user can mend.
    """
    on_gpu = join(config)
    trainer = TorchTrainer(
        _rank_main,
        train_loop_config={"config": to_dict(config), "folder": str(folder.path)},
        torch_config=TorchConfig(timeout_s=_TIMEOUT_S),
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.learner_workers,
            use_gpu=on_gpu,
            resources_per_worker={"CPU": config.threads, **({"GPU": 1} if on_gpu else {})},
        ),
        run_config=ray.train.RunConfig(
            # Train resumes silently by name, so every start has a name of its own: what is
            # resumed are our checkpoints.
            name=f"train-{uuid.uuid4().hex[:8]}",
            storage_path=str((folder.path / "ray_train").resolve()),
            failure_config=ray.train.FailureConfig(max_failures=3),
        ),
    )
    began = time.time()
    with _Tail(folder, report):
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            cause = next(iter(getattr(error, "worker_failures", {}).values()), error)
            raised = getattr(cause, "_base_exc", cause)  # Train wraps what a rank raised
            if isinstance(raised, UserError):
                raise UserError(str(raised)) from error
            raise RuntimeError(f"the learner workers failed: {cause}") from error
    records = [record for record in folder.read_metrics() if record["time"] >= began]
    newest = {key: value for record in records for key, value in record.items()}
    losses = Losses(
        requests=int(newest.get("rollout/lost_requests", 0)),
        restarts=int(newest.get("rollout/actor_deaths", 0)),
    )
    return checkpoint.read_state(checkpoint.last(folder.checkpoints)), losses


def _rank_main(options: dict[str, Any]) -> None:
    from pathlib import Path

    config = from_dict(TrainConfig, options["config"])
    device = ray.train.torch.get_device()
    start(config, RunFolder(Path(options["folder"])), TorchGroup(), device, lambda _: None)


class _Tail:
    """Passes on new records of metrics.jsonl while the ranks write them."""

    def __init__(self, folder: RunFolder, report: Callable[[Record], None]) -> None:
        self._folder, self._report = folder, report
        self._seen = len(folder.read_metrics())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._pass_on()

    def _follow(self) -> None:
        while not self._over.wait(_POLL_S):
            self._pass_on()

    def _pass_on(self) -> None:
        records = self._folder.read_metrics()
        for record in records[self._seen :]:
            self._report(record)
        self._seen = len(records)  # fewer than before where a resumed run has dropped some
