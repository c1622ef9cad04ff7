"""One trial: an ordinary run in a folder of its own, that reports its evaluations to Tune."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import ray.tune

from rubout.errors import UserError
from rubout.files import write_json
from rubout.learner import Alone
from rubout.search import Value
from rubout.training import checkpoint, setup
from rubout.training.run import Record
from rubout.training.run_folder import RunFolder
from rubout.training.start import start
from rubout.tuning.options import config_of
from rubout.tuning.results import FAILED, SAMPLE


def run_trial(
    sample: Mapping[str, Value], base: Mapping[str, Value], out: str, *, gives_checkpoints: bool
) -> None:
    """Train, from where the trial's folder stands; a checkpoint at every evaluation.

    Args:
        sample: what this trial drew, by dotted name.
        base: the other options.
        out: the search's folder; the run is written to trials/NUMBER in it.
        gives_checkpoints: hand them to Tune, for trials that go on from others'.
    """
    folder = RunFolder(Path(out) / "trials" / number(ray.tune.get_context().get_trial_id()))
    config = config_of({**base, **sample})
    config = replace(config, checkpoint_every=config.evaluate_every)
    folder.path.mkdir(parents=True, exist_ok=True)
    (folder.path / FAILED).unlink(missing_ok=True)
    write_json(folder.path / SAMPLE, dict(sample))
    given = ray.tune.get_checkpoint()
    if given is not None:
        with given.as_directory() as path:
            _take_over(folder, Path(path))
    task = setup.build_task(config)
    folder.write_vocabulary(task.codec, setup.action_space(config, task))
    folder.write_config(config)
    reports = _Reports(folder, gives_checkpoints)
    try:
        if config.learner_workers:
            from rubout.training.ray_train import fit

            fit(config, folder, reports)
        else:
            start(config, folder, Alone(), setup.torch_device(config.device), reports)
    except UserError as error:
        write_json(folder.path / FAILED, {"error": str(error)})
        raise
    reports.end()


class _Reports:
    """Passes evaluations on to Tune, each when its checkpoint is on disk: at the next record."""

    def __init__(self, folder: RunFolder, gives_checkpoints: bool) -> None:
        self._folder, self._gives_checkpoints = folder, gives_checkpoints
        self._waiting: Record | None = None

    def __call__(self, record: Record) -> None:
        self._pass_on()
        if record["kind"] == "evaluation":
            self._waiting = record

    def end(self) -> None:
        """Pass on the last one; of a run that was whole already, its last again."""
        records = [one for one in self._folder.read_metrics() if one["kind"] == "evaluation"]
        self._waiting = self._waiting or (records[-1] if records else None)
        self._pass_on()

    def _pass_on(self) -> None:
        if self._waiting is None:
            return
        checkpoints = self._folder.checkpoints
        newest = None
        if self._gives_checkpoints:
            newest = ray.tune.Checkpoint.from_directory(checkpoint.last(checkpoints))
        ray.tune.report(self._waiting, checkpoint=newest)
        self._waiting = None


def number(trial_id: str) -> str:
    """The trial's number in its search, of five digits."""
    return trial_id.rpartition("_")[2]


def _take_over(folder: RunFolder, source: Path) -> None:
    """Go on from a checkpoint that Tune hands over: this trial's own, or a better one's."""
    state = checkpoint.read_state(source)
    target = folder.checkpoints / f"step-{state.update:08d}"
    for path in checkpoint.checkpoints(folder.checkpoints):
        if path >= target:
            shutil.rmtree(path)
    shutil.copytree(source, target)
