"""Checkpoints: safetensors and JSON, whole or absent, checked when read.

`checkpoints/step-00000200/` holds one .safetensors file a module, optimizers.pt (read back with
`weights_only`), state.json, rollouts.npz where rollouts were in flight, memory.npz where the
learner keeps action logs, and manifest.json with the sha256 of each. The folder gets its name when
all of that is on disk.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rubout.errors import UserError
from rubout.files import room_for, sha256
from rubout.learner import Learner
from rubout.rollout.wire import pack, unpack
from rubout.types import Trajectories

_UNFINISHED = ".unfinished-"  # written or removed by a process that may have been killed


@dataclass(frozen=True)
class RunState:
    """Where a run stands, besides its weights.

    Attributes:
        update: updates done.
        fingerprint: of the vocabulary.
        best_nll: best validation NLL so far, or None.
        best_update: where it was seen.
        stale_evaluations: evaluations since then.
        validation_nll: at this very update, where it was evaluated.
        learner: what `Learner.state` gave.
    """

    update: int
    fingerprint: str
    best_nll: float | None = None
    best_update: int = 0
    stale_evaluations: int = 0
    validation_nll: float | None = None
    learner: dict[str, float | int | str] = field(default_factory=dict)


def save(
    folder: Path,
    state: RunState,
    learner: Learner,
    pending: Mapping[int, Trajectories],
    memory: Mapping[str, Trajectories],
    num_actions: int,
) -> Path:
    """Write a checkpoint.

    Args:
        folder: the run's checkpoints.
        state: where it stands.
        learner: whose modules and optimisers are kept.
        pending: rollouts already generated for later updates.
        memory: what `Learner.memory` gave, of all learners.
        num_actions: A.

    Returns:
        the checkpoint's folder.

    Raises:
        UserError: the disk is full; the checkpoints before are as they were.
    """
    before = checkpoints(folder)
    start = before[-1].name if before else "the beginning"
    with room_for(folder, f"--resume goes on from {start}"):
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_UNFINISHED}*"):  # by a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        final = folder / f"step-{state.update:08d}"
        temporary = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
        try:
            _write(temporary, state, learner, pending, memory, num_actions)
            if final.exists():  # moved away whole, so that at no moment there is half of one
                final.replace(temporary.with_name(f"{temporary.name}-old"))
            temporary.replace(final)
            shutil.rmtree(temporary.with_name(f"{temporary.name}-old"), ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return final


def _write(
    folder: Path,
    state: RunState,
    learner: Learner,
    pending: Mapping[int, Trajectories],
    memory: Mapping[str, Trajectories],
    num_actions: int,
) -> None:
    """Fill a checkpoint's folder, the manifest last."""
    for name, module in learner.modules().items():
        tensors = {key: value.contiguous() for key, value in module.state_dict().items()}
        save_file(tensors, folder / f"{name}.safetensors")
    optimizers = {name: item.state_dict() for name, item in learner.optimizers().items()}
    with (folder / "optimizers.pt").open("wb") as file:  # given a path, torch hides what went wrong
        torch.save(optimizers, file)
    ahead = {str(update): rollouts for update, rollouts in pending.items()}
    _write_logs(folder / "rollouts.npz", ahead, num_actions)
    _write_logs(folder / "memory.npz", memory, num_actions)
    (folder / "state.json").write_text(json.dumps(vars_of(state), indent=2))
    manifest = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))


def vars_of(state: RunState) -> dict[str, Any]:
    """The fields of a state."""
    return {name: getattr(state, name) for name in RunState.__dataclass_fields__}


def checkpoints(folder: Path) -> list[Path]:
    """All whole checkpoints, oldest first."""
    return sorted(path.parent for path in folder.glob("step-*/manifest.json"))


def last(folder: Path) -> Path:
    """The newest checkpoint.

    Raises:
        UserError: there is none.
    """
    found = checkpoints(folder)
    if not found:
        raise UserError(f"{folder} holds no checkpoint")
    return found[-1]


def best(folder: Path) -> Path:
    """The checkpoint of the lowest validation NLL; the newest where none was evaluated."""
    newest = last(folder)
    scored = [
        (nll, path)
        for path in checkpoints(folder)
        if (nll := read_state(path).validation_nll) is not None
    ]
    return min(scored)[1] if scored else newest


def prune(folder: Path, keep: int) -> None:
    """Remove all but the newest `keep` and the best."""
    found = checkpoints(folder)
    spared = {*found[-keep:], best(folder)}
    for path in found:
        if path not in spared:
            # Renamed first: a checkpoint is whole or gone, also if we are killed here.
            doomed = path.with_name(f"{_UNFINISHED}{path.name}")
            path.replace(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def verify(checkpoint: Path) -> None:
    """Compare every file with the manifest.

    Raises:
        UserError: a file is missing, truncated or changed.
    """
    try:
        manifest = json.loads((checkpoint / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"checkpoint {checkpoint} is damaged: manifest.json: {error}") from error
    for name, digest in manifest.items():
        path = checkpoint / name
        if not path.is_file():
            raise UserError(f"checkpoint {checkpoint} is damaged: {name} is missing")
        if sha256(path) != digest:
            raise UserError(
                f"checkpoint {checkpoint} is damaged: {name} is not what was written; "
                f"remove the folder to fall back on the checkpoint before"
            )


def read_state(checkpoint: Path) -> RunState:
    """Where the run stood."""
    try:
        return RunState(**json.loads((checkpoint / "state.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"checkpoint {checkpoint} is damaged: state.json: {error}") from error


def load(checkpoint: Path, learner: Learner, fingerprint: str) -> RunState:
    """Put a checkpoint's weights and optimisers into a learner.

    Raises:
        UserError: it is damaged, or of another vocabulary or network.
    """
    verify(checkpoint)
    state = read_state(checkpoint)
    for name, module in learner.modules().items():
        load_module(checkpoint, name, module, fingerprint)
    optimizers = torch.load(checkpoint / "optimizers.pt", weights_only=True, map_location="cpu")
    for name, optimizer in learner.optimizers().items():
        # What the run is told to do stays; a trial may go on from another's checkpoint.
        own = [
            {key: value for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ]
        optimizer.load_state_dict(optimizers[name])
        for group, options in zip(optimizer.param_groups, own, strict=True):
            group.update(options)
    learner.load_state(state.learner)
    return state


def load_module(
    checkpoint: Path,
    name: str,
    module: nn.Module,
    fingerprint: str,
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = None,
) -> None:
    """Put one module's weights, changed if need be, in place; see `load`."""
    state = read_state(checkpoint)
    if state.fingerprint != fingerprint:
        raise UserError(
            f"checkpoint {checkpoint} is of another vocabulary "
            f"({state.fingerprint}, not {fingerprint})"
        )
    path = checkpoint / f"{name}.safetensors"
    try:
        tensors = load_file(path)
        module.load_state_dict(tensors if change is None else change(tensors))
    except (OSError, safetensors.SafetensorError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"{path} does not fit this network: {reason}") from error


def load_pending(checkpoint: Path) -> dict[int, Trajectories]:
    """Rollouts that were in flight, by update."""
    found = _read_logs(checkpoint / "rollouts.npz")
    return {int(update): rollouts for update, rollouts in found.items()}


def load_memory(checkpoint: Path) -> dict[str, Trajectories]:
    """What `Learner.memory` gave, of all learners."""
    return _read_logs(checkpoint / "memory.npz")


def _write_logs(path: Path, logs: Mapping[str, Trajectories], num_actions: int) -> None:
    if not logs:
        return
    arrays = {
        f"{name}/{key}": value
        for name, trajectories in logs.items()
        for key, value in pack(trajectories, num_actions).items()
    }
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def _read_logs(path: Path) -> dict[str, Trajectories]:
    if not path.is_file():
        return {}
    packed: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            name, _, field_name = key.rpartition("/")
            packed.setdefault(name, {})[field_name] = arrays[key]
    return {name: unpack(item) for name, item in packed.items()}
