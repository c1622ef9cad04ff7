"""Begin or resume a run, alone or as one rank of a group."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from tensorboardX import SummaryWriter

from rubout.learner import Group, Learner
from rubout.process import set_up
from rubout.rollout.source import LocalRollouts, Losses, RolloutSource
from rubout.task import Codec, Task
from rubout.training import checkpoint
from rubout.training.checkpoint import RunState
from rubout.training.config import TrainConfig
from rubout.training.loop import train
from rubout.training.run import Record, Run
from rubout.training.run_folder import RunFolder
from rubout.training.setup import build_learner, build_task, rollout_spec
from rubout.types import Trajectories


def start(
    config: TrainConfig,
    folder: RunFolder,
    group: Group,
    device: torch.device,
    report: Callable[[Record], None],
    task: Task | None = None,
) -> tuple[RunState, Losses]:
    """Train from the newest checkpoint of the folder, or from the beginning.

    Args:
        config: the run's options.
        folder: where it is written; config.json and vocabulary.json are there.
        group: the learners that train together.
        device: of this learner.
        report: called on rank 0 with every record that goes into metrics.jsonl.
        task: that of the config where it is made already.

    Returns:
        the final state, and what was lost on the way and made good.
    """
    set_up(config.threads)
    task = task or build_task(config)
    fingerprint = task.codec.fingerprint
    resumed = bool(checkpoint.checkpoints(folder.checkpoints))
    begun = replace(config, init=None) if resumed else config
    learner = build_learner(begun, task, group, device)
    state = RunState(0, fingerprint)
    pending: dict[int, Trajectories] = {}
    memory: dict[str, Trajectories] = {}
    if resumed:
        newest = checkpoint.last(folder.checkpoints)
        state = checkpoint.load(newest, learner, fingerprint)
        pending, memory = checkpoint.load_pending(newest), checkpoint.load_memory(newest)
        if group.rank == 0:
            folder.rewind_metrics(state.update)
    rollouts = _source(config, learner, task.codec, device)
    events = _Events(folder, state.update) if group.rank == 0 else None

    def tell(record: Record) -> None:
        if events is not None:
            events(record)
        report(record)

    try:
        run = Run(config, folder, task, learner, rollouts, tell)
        run.restore(pending, memory)
        return train(run, state), rollouts.losses
    finally:
        rollouts.close()
        if events is not None:
            events.close()


def _source(
    config: TrainConfig, learner: Learner, codec: Codec, device: torch.device
) -> RolloutSource:
    """Actors where the config has some and the learner asks for rollouts; else this process."""
    spec = rollout_spec(config, learner, codec, device)
    if config.rollout_workers and learner.uses_rollouts:
        from rubout.rollout.fleet import Fleet

        workers = config.rollout_workers // learner.context.group.size
        return Fleet(spec, workers, cpus=config.threads, gpus=config.rollout_gpus)
    return LocalRollouts(spec, learner.policy)


_CLOSE_S = 10.0


class _Events:
    """The same figures for TensorBoard."""

    def __init__(self, folder: RunFolder, update: int) -> None:
        self._writer: Any = SummaryWriter(logdir=str(folder.path), purge_step=update + 1)

    def __call__(self, record: Record) -> None:
        for name, value in record.items():
            if name not in {"update", "kind", "time"}:
                self._writer.add_scalar(f"{record['kind']}/{name}", value, record["update"])

    def close(self) -> None:
        """Where the disk is full the writer's thread is dead, and would be waited for for ever."""
        closing = threading.Thread(target=self._writer.close, daemon=True)
        closing.start()
        closing.join(_CLOSE_S)
