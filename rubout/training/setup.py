"""From a config to the parts of a run; everything a user can get wrong is found here."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from rubout import plugins
from rubout.errors import UserError
from rubout.learner import Alone, Context, Group, Learner
from rubout.options import build_policy, from_dict
from rubout.policies.backspace import begin_backspace, with_backspace
from rubout.policies.network import NetworkPolicy
from rubout.policy import Policy
from rubout.rollout.draw import seed_of
from rubout.rollout.rewards import RewardSpec
from rubout.rollout.source import RolloutSpec
from rubout.task import Codec, Task
from rubout.training import checkpoint
from rubout.training.config import TrainConfig
from rubout.training.run_folder import RunFolder
from rubout.types import ActionSpace

_SEEN = 64  # expert sequences that set how rare an untrained backspace is


def build_task(config: TrainConfig) -> Task:
    """The run's task.

    Raises:
        UserError: it cannot be made.
    """
    cls: Any = plugins.find("task", task_name(config.task))
    options = from_dict(cls.Config, config.task_options, "task.")
    try:
        task: Task = cls(options)
    except ValueError as error:
        raise UserError(f"task {config.task}: {error}") from error
    return task


def task_name(given: str) -> str:
    """What `--task` names: a file is a task of kind `text`."""
    if (
        ":" in given
        or given in plugins.names("task")
        or given.replace("-", "_") in plugins.names("task")
    ):
        return given
    is_file = "/" in given or Path(given).suffix or Path(given).is_file()
    return "text" if is_file else given


def action_space(config: TrainConfig, task: Task) -> ActionSpace:
    """The task's actions with what the run adds to them."""
    try:
        return replace(
            task.space,
            backspace=config.env.backspace,
            max_actions=config.env.max_actions,
            max_backspaces=config.env.max_backspaces,
            forbid_redo=config.env.forbid_redo,
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def torch_device(name: str) -> torch.device:
    """`auto` is a GPU where there is one.

    Raises:
        UserError: cuda is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: torch sees no GPU here")
    return torch.device(name)


def build_learner(config: TrainConfig, task: Task, group: Group, device: torch.device) -> Learner:
    """Policy and learner with the weights they start from, the same on every rank."""
    space = action_space(config, task)
    torch.manual_seed(seed_of(config.seed, "init"))
    policy = build_policy(config.policy, config.policy_options, space)
    knows_backspace = False
    if config.init:
        folder = RunFolder.existing(config.init)
        load_policy(folder, policy, task.codec.fingerprint, config.init_checkpoint)
        knows_backspace = folder.space().backspace
    policy.to(device)
    if space.backspace and not knows_backspace and isinstance(policy, NetworkPolicy):
        begin_backspace(policy, task.split("train")[:_SEEN].to(device))
    cls: Any = plugins.find("learner", config.learner)
    context = Context(space, config.batch_size, device, group)
    learner: Learner = cls(
        policy, from_dict(cls.Config, config.learner_options, "learner."), context
    )
    return learner


def load_policy(
    folder: RunFolder,
    policy: Policy,
    fingerprint: str,
    which: Literal["best", "last"] | None = None,
) -> Path:
    """Put a run's policy into `policy`, which may have a backspace that the run's had not.

    Args:
        folder: of the run.
        policy: takes the weights.
        fingerprint: of the vocabulary.
        which: of its checkpoints; None: what its learner says stands for the run.

    Returns:
        the checkpoint.

    Raises:
        UserError: there is none, or it is damaged or of another vocabulary.
    """
    if which is None:
        learner: Any = plugins.find("learner", folder.config().learner)
        which = learner.stands_for_run
    path = (checkpoint.best if which == "best" else checkpoint.last)(folder.checkpoints)
    checkpoint.verify(path)
    grows = policy.space.backspace and not folder.space().backspace
    if grows and not isinstance(policy, NetworkPolicy):
        raise UserError(f"{folder.path} has no backspace, and this policy cannot be given one")
    change = partial(with_backspace, size=policy.space.size) if grows else None
    checkpoint.load_module(path, "policy", policy, fingerprint, change)
    return path


def rollout_spec(
    config: TrainConfig, learner: Learner, codec: Codec, device: torch.device
) -> RolloutSpec:
    """What the samplers of a run are made of."""
    judge = learner.judge()
    share = 1.0 if judge is None or config.reward is None else judge.share
    reward = judged = None
    if config.reward is not None:
        rest = 1.0 if judge is None else 1.0 - share
        reward = RewardSpec(config.reward, config.reward_options, rest)
    if judge is not None:
        judged = RewardSpec(judge.name, judge.options, share)
    on = str(device)
    if config.rollout_workers:
        on = "cuda" if config.rollout_gpus else "cpu"
    return RolloutSpec(
        policy=config.policy,
        policy_options=config.policy_options,
        space=learner.context.space,
        reward=reward,
        judge=judged,
        codec=codec,
        step_penalty=config.env.step_penalty,
        device=on,
        threads=config.threads,
        batch=config.rollout_batch,
    )


def check(config: TrainConfig, task: Task) -> None:
    """Build everything once, in the driver, so that mistakes show before any actor starts.

    Raises:
        UserError: anything a user can mend.
    """
    config.check_learner()
    try:
        on_cpu = torch.device("cpu")
        learner = build_learner(config, task, _Planned(config.learner_workers), on_cpu)
        elsewhere = replace(config, rollout_gpus=0.0)  # those GPUs may be of other machines
        rollout_spec(elsewhere, learner, task.codec, on_cpu).sampler(learner.policy)
        if learner.uses_rewards and learner.judge() is None and config.reward is None:
            raise UserError(f"learner {config.learner} has no judge of its own: it needs --reward")
    except ValueError as error:
        raise UserError(str(error)) from error


class _Planned(Alone):
    """The first learner of a group that has not begun, or the only one."""

    def __init__(self, workers: int) -> None:
        self.size = max(workers, 1)


def uses_rollouts(config: TrainConfig) -> bool:
    """Whether the run's learner ever asks for trajectories."""
    cls: Any = plugins.find("learner", config.learner)
    return bool(cls.uses_rollouts)
