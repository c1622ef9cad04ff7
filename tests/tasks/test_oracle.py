"""When the oracle's sequences are drawn, and that they stay the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rubout.checks.common import same
from rubout.cli.show import heading
from rubout.tasks import oracle
from rubout.tasks.oracle import Oracle, OracleConfig
from rubout.training.config import TrainConfig
from rubout.training.run_folder import RunFolder

CONFIG = OracleConfig(vocabulary=11, length=4, hidden=3, train=9, validation=5, test=7)
SIZES = {"train": 9, "validation": 5, "test": 7}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty one."""
    monkeypatch.setenv("RUBOUT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def drawn(monkeypatch):
    """The names of the splits that were drawn, in order."""
    names = []
    draw = Oracle._draw_split

    def noted(task, name):
        names.append(name)
        return draw(task, name)

    monkeypatch.setattr(Oracle, "_draw_split", noted)
    return names


def test_a_split_is_counted_without_being_drawn(drawn):
    task = Oracle(CONFIG)
    assert {name: task.count(name) for name in SIZES} == SIZES
    assert drawn == []
    assert {name: len(task.split(name)) for name in SIZES} == SIZES
    assert drawn == [*SIZES]


def test_the_heading_of_a_run_draws_nothing(drawn, capsys):
    config = TrainConfig(task="oracle")
    heading(config, Oracle(CONFIG), RunFolder(Path("RUN")), torch.device("cpu"))
    assert "9 training, 5 validation, 7 test sequences" in capsys.readouterr().out
    assert drawn == []


@pytest.mark.parametrize("writable", [True, False])
def test_a_split_is_drawn_once_a_task(drawn, cache, writable):
    if not writable:
        cache.write_text("no folder")
    task = Oracle(CONFIG)
    assert same(task.split("train"), task.split("train"))
    assert drawn == ["train"]
    again = Oracle(CONFIG)
    assert same(again.split("train"), task.split("train"))
    assert drawn == ["train"] * (1 if writable else 2)


def test_what_a_caller_does_to_a_split_stays_with_it():
    task = Oracle(CONFIG)
    kept = task.split("train").actions_BT.clone()
    task.split("train").actions_BT.zero_()
    assert task.split("train").actions_BT.equal(kept)


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_sequences_do_not_depend_on_how_many_are_drawn_at_a_time(monkeypatch, batch):
    expected = Oracle(CONFIG)._draw_split("train")
    monkeypatch.setattr(oracle, "_BATCH", batch)
    assert (Oracle(CONFIG)._draw_split("train") == expected).all()
    fewer = Oracle(replace(CONFIG, train=3))._draw_split("train")
    assert (fewer == expected[:3]).all()
