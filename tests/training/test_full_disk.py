"""A disk that fills up while a run writes: one line, and what was written stays."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from rubout.errors import UserError
from rubout.training.run_folder import RunFolder


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.append_metrics({"update": 1})
    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=r"metrics\.jsonl cannot be written: No space left") as told:
        folder.append_metrics({"update": 2})
    assert "--resume goes on from the last checkpoint" in str(told.value)
    monkeypatch.undo()
    assert folder.read_metrics() == [{"update": 1}]


def test_samples(config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rubout.learner import Alone
    from rubout.training import checkpoint, setup
    from rubout.training.start import start

    run = config("mle", updates=4, evaluate_every=2, checkpoint_every=1, samples=2)
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    task = setup.build_task(run)
    folder.write_vocabulary(task.codec, setup.action_space(run, task))
    write = Path.write_text

    def fails(path: Path, *words: object, **options: object) -> int:
        if ".jsonl" in path.name:
            full()
        return write(path, *words, **options)

    monkeypatch.setattr(Path, "write_text", fails)
    with pytest.raises(UserError, match=r"update-00000002\.jsonl cannot be written: No space"):
        start(run, folder, Alone(), setup.torch_device("cpu"), lambda _: None)
    assert checkpoint.read_state(checkpoint.last(folder.checkpoints)).update == 1
    assert not list(folder.samples.iterdir())
