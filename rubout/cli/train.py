"""`rubout train`: from options to a RUN folder with its evaluation."""

from __future__ import annotations

import dataclasses
import importlib
import time
from pathlib import Path
from typing import Annotated, Any

import tyro

from rubout import plugins
from rubout.cli import show
from rubout.cli.parse import parse, peek
from rubout.cli.progress import Progress
from rubout.cli.quick import keeping_all
from rubout.errors import UserError
from rubout.layout import check_layout
from rubout.options import from_dict, to_dict
from rubout.process import set_up
from rubout.rollout.environment import has_ray, is_remote, lasting, prepare
from rubout.rollout.source import Losses
from rubout.task import Task
from rubout.training import checkpoint, resources, setup
from rubout.training.checkpoint import RunState
from rubout.training.config import CHANGEABLE, TrainConfig
from rubout.training.run_folder import RunFolder

_PARTS = ("learner", "task", "policy", "reward")


def run(argv: list[str]) -> int:
    """See the module."""
    with keeping_all():
        config, task, folder, other = _prepare(argv)
    device = setup.torch_device(config.device)
    show.heading(config, task, folder, device)
    began = time.perf_counter()
    try:
        with Progress(config.updates) as progress:
            state, losses = _train(config, folder, device, progress, task)
    except KeyboardInterrupt:
        print(f"\nto go on: {show.resume_command(folder)}", flush=True)
        raise
    seconds = time.perf_counter() - began
    show.ending(config, state, losses, seconds)
    show.results(folder, config, task, other)
    show.next_commands(folder, config, task)
    return 0


def _prepare(argv: list[str]) -> tuple[TrainConfig, Task, RunFolder, RunFolder | None]:
    """All that can be wrong is found here, before any actor starts.

    Returns:
        the config, the task, the folder to write, and that of the baseline.
    """
    options, config = read_options(argv)
    set_up(config.threads)
    path = lasting(options.out)
    folder = RunFolder.existing(path) if options.resume else None
    if folder is None:
        RunFolder.check_vacant(path)  # says what is wrong before anything takes time
    if folder is not None and checkpoint.checkpoints(folder.checkpoints):
        checkpoint.verify(checkpoint.last(folder.checkpoints))
    setup.torch_device(config.device)
    resources.check_machine(config)
    joins = is_remote(config.address)
    if joins:  # takes a second, and tells at once what the cluster cannot hold
        _join_cluster(config)
    task = setup.build_task(config)
    if folder is not None and task.codec.fingerprint != folder.codec().fingerprint:
        raise UserError(f"the task's data have changed: not the vocabulary {folder.path} learned")
    other = None if options.baseline is None else show.baseline(options.baseline, task)
    resumed = folder is not None and bool(checkpoint.checkpoints(folder.checkpoints))
    # The first optimizer imports this, and what the import leaves behind would keep its policy.
    importlib.import_module("torch._dynamo")
    # A resumed run has its weights; the run it once began with may be gone.
    setup.check(dataclasses.replace(config, init=None) if resumed else config, task)
    if not joins:
        _join_cluster(config)
    if folder is None:
        folder = RunFolder.fresh(path)
        folder.write_vocabulary(task.codec, setup.action_space(config, task))
    folder.write_config(config)
    return config, task, folder, other


def _train(
    config: TrainConfig, folder: RunFolder, device: Any, progress: Progress, task: Task
) -> tuple[RunState, Losses]:
    """In this process, or on the learner workers."""
    from rubout.learner import Alone
    from rubout.training.start import start

    if config.learner_workers:
        from rubout.training.ray_train import fit

        return fit(config, folder, progress)
    return start(config, folder, Alone(), device, progress, task)


def _join_cluster(config: TrainConfig) -> None:
    """Where the run has actors: find or start their cluster, and see that it could hold them."""
    if not (config.learner_workers or (config.rollout_workers and setup.uses_rollouts(config))):
        return
    check_layout()
    if not has_ray():
        raise UserError(
            "ray is not installed: use --rollout-workers 0 --learner-workers 0, "
            "or pip install 'ray[default,train,tune]'"
        )
    prepare(config.address)
    where = "joining the Ray cluster" if is_remote(config.address) else "starting Ray here"
    print(f"{where} ...", flush=True)
    from rubout.rollout.cluster import connect, machines

    connect(config.address)
    resources.check_fits(config, machines())


def read_options(argv: list[str]) -> tuple[Any, TrainConfig]:
    """Where and how to run (`out`, `resume`, `baseline`), and the run's config.

    Raises:
        UserError: an option is wrong, or a resumed run is given another one.
    """
    saved = _saved_config(argv)
    argv = argv if saved else _with_policy(argv)
    names: dict[str, Any] = {
        part: peek(argv, f"--{part}") or getattr(saved or TrainConfig(), part) for part in _PARTS
    }
    task = setup.task_name(names["task"])
    file = names["task"] if task != names["task"] else None
    classes = {
        "learner": plugins.find("learner", names["learner"]),
        "task": plugins.find("task", task),
        "policy": plugins.find("policy", names["policy"]),
    }
    if names["reward"] is not None:
        classes["reward"] = plugins.find("reward", names["reward"])
    configs = {part: found.Config for part, found in classes.items()}  # type: ignore[attr-defined]
    cls = _options_class(configs, file)
    options: Any = parse(
        cls, argv, "rubout train", saved and _as_default(cls, configs, saved, argv)
    )

    fields = dataclasses.fields(TrainConfig)
    values = {field.name: getattr(options, field.name) for field in fields} | {"task": task}
    for part in configs:
        values[f"{part}_options"] = to_dict(values[f"{part}_options"])
    config = from_dict(TrainConfig, to_dict(TrainConfig(**values)))  # paths absolute
    if saved is not None:
        _check_same_run(saved, config)
    return options, config


def _with_policy(argv: list[str]) -> list[str]:
    """The words of a new run; where they name no policy, with that of the learner."""
    learner: Any = plugins.find("learner", peek(argv, "--learner") or TrainConfig().learner)
    if peek(argv, "--policy") or learner.default_policy == TrainConfig().policy:
        return argv
    return [*argv, "--policy", learner.default_policy]


def _saved_config(argv: list[str]) -> TrainConfig | None:
    """The config of the run to resume; None for a new run."""
    if "--resume" not in argv or {"-h", "--help"} & set(argv):
        return None
    out = peek(argv, "--out")
    if out is None:
        raise UserError("--resume needs --out RUN")
    return RunFolder.existing(lasting(Path(out))).config()


def _options_class(configs: dict[str, Any], file: str | None) -> type:
    """TrainConfig with the options of the parts that were named, and of this call."""
    out_help = "RUN folder to write; it must not hold another run."
    resume_help = "Go on with the run in --out from its last checkpoint."
    baseline_help = "A RUN on the same task, shown beside this one at the end."
    annotations: dict[str, Any] = {
        "out": Annotated[Path, tyro.conf.arg(help=out_help)],
        "resume": Annotated[bool, tyro.conf.arg(help=resume_help)],
        "baseline": Annotated[Path | None, tyro.conf.arg(help=baseline_help)],
    }
    defaults = {"resume": False, "baseline": None}
    namespace: dict[str, Any] = {**defaults, "__annotations__": annotations}
    namespace["__doc__"] = "Train a policy."
    for part, config in configs.items():
        annotations[f"{part}_options"] = Annotated[config, tyro.conf.arg(name=part)]
        if part == "task" and file is not None:
            default = config(path=Path(file))
        elif any(field.name == "path" for field in dataclasses.fields(config)):
            namespace[f"{part}_options"] = dataclasses.field()  # required: it has no default
            continue
        else:
            default = config()
        namespace[f"{part}_options"] = dataclasses.field(default=default)
    made = type("TrainOptions", (TrainConfig,), namespace)
    return dataclasses.dataclass(frozen=True, kw_only=True)(made)


def _as_default(cls: Any, configs: dict[str, Any], saved: TrainConfig, argv: list[str]) -> Any:
    """The saved run, as the options that would start it."""
    values = {field.name: getattr(saved, field.name) for field in dataclasses.fields(saved)}
    for part, config in configs.items():
        named = peek(argv, f"--{part}")
        kind = setup.task_name(named) if named and part == "task" else named
        if named and kind != getattr(saved, part):
            raise UserError(
                f"--resume cannot change --{part} {getattr(saved, part)} to {named}: "
                f"it would be another run"
            )
        options = dict(values[f"{part}_options"])
        if named != kind:  # a file
            options["path"] = named
        values[f"{part}_options"] = from_dict(config, options, f"{part}.")
    return cls(**values, out=Path(peek(argv, "--out") or ""), resume=True)


def _check_same_run(saved: TrainConfig, config: TrainConfig) -> None:
    before, after = to_dict(saved), to_dict(config)
    for name, value in before.items():
        if name not in CHANGEABLE and after[name] != value:
            flag = "--" + name.removesuffix("_options").replace("_", "-")
            changed = f"{flag} {value} to {after[name]}"
            if isinstance(value, dict):
                key = next(k for k in after[name] if value.get(k) != after[name][k])
                changed = f"{flag}.{key.replace('_', '-')} {value.get(key)} to {after[name][key]}"
            raise UserError(f"--resume cannot change {changed}: it would be another run")
