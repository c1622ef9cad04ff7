"""Everything that fixes a run: the content of its config.json."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rubout import plugins
from rubout.errors import UserError
from rubout.rollout.sampler import EnvConfig


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training run; those of its learner, task and policy are their own."""

    learner: str = "mle"
    """How it is taught: a short name, or module:Class."""
    task: str = "python-docs"
    """Where real sequences come from: a short name, module:Class, or a text file."""
    policy: str = "lstm"
    """What is trained: a short name, or module:Class."""
    reward: str | None = None
    """module:Class of a reward paid by the env, to learners that learn from one."""
    seed: int = 0
    """Fixes everything, on the CPU."""
    updates: int = 2000
    """Updates of the learner."""
    batch_size: int = 64
    """Real sequences per update, over all learner workers."""
    init: Path | None = None
    """A RUN whose policy is the start: its best, or its last where that stands for its learner. One
    without a backspace is given the key."""
    init_checkpoint: Literal["best", "last"] | None = None
    """Which checkpoint of --init, where not the one that stands for its learner."""
    evaluate_every: int = 200
    """Updates between evaluations."""
    evaluate_sequences: int = 1000
    """Most sequences of a split, and samples, in an evaluation during training; 0: all."""
    checkpoint_every: int = 200
    """Updates between checkpoints."""
    keep: int = 3
    """Checkpoints kept, besides the best."""
    patience: int = 0
    """Stop after so many evaluations without a better validation NLL; 0: never."""
    log_every: int = 10
    """Updates between lines of metrics.jsonl."""
    samples: int = 20
    """Samples written at every evaluation."""
    rollout_workers: int = 0
    """Ray actors that generate; 0: this process does."""
    learner_workers: int = 0
    """Ray Train workers that learn, data parallel; 0: this process does."""
    staleness: int = 0
    """Updates by which rollouts may lag behind the policy; 0: strictly on-policy."""
    rollout_batch: int = 64
    """Most sequences generated at a time."""
    rollout_gpus: float = 0.0
    """GPUs, or a fraction of one, per rollout worker; they then generate on it."""
    threads: int = 1
    """CPU threads of each process. Results are the same only for the same number."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the learner runs."""
    address: str | None = None
    """Ray cluster to join; default: $RAY_ADDRESS, else one is started on this machine."""
    env: EnvConfig = field(default_factory=EnvConfig)
    """How sequences are typed."""
    learner_options: dict[str, Any] = field(default_factory=dict)
    task_options: dict[str, Any] = field(default_factory=dict)
    policy_options: dict[str, Any] = field(default_factory=dict)
    reward_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least_one = ("updates", "batch_size", "evaluate_every", "checkpoint_every", "keep")
        for name in (*at_least_one, "log_every", "rollout_batch", "threads"):
            if getattr(self, name) < 1:
                raise UserError(f"{_flag(name)} must be at least 1")
        not_negative = ("rollout_workers", "learner_workers", "staleness", "patience", "samples")
        for name in (*not_negative, "evaluate_sequences", "rollout_gpus"):
            if getattr(self, name) < 0:
                raise UserError(f"{_flag(name)} must not be negative")
        learners = max(self.learner_workers, 1)
        if self.batch_size % learners:
            raise UserError(f"--batch-size {self.batch_size} must divide over {learners} learners")
        if self.rollout_workers % learners:
            raise UserError(
                f"--rollout-workers {self.rollout_workers} must divide over {learners} learners"
            )

    @property
    def uses_ray(self) -> bool:
        """Whether any part runs in an actor."""
        return self.rollout_workers > 0 or self.learner_workers > 0

    def check_learner(self) -> None:
        """Whether the learner allows what is asked of it.

        Raises:
            UserError: it does not exist, or bears no such staleness.
        """
        learner: Any = plugins.find("learner", self.learner)
        limit = learner.max_staleness
        if limit is not None and self.staleness > limit:
            raise UserError(f"learner {self.learner} allows a --staleness of at most {limit}")


# What a resumed run may be given anew; everything else is the run.
CHANGEABLE = frozenset(
    {"updates", "rollout_workers", "keep", "log_every", "address", "patience", "samples", "device"}
)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
