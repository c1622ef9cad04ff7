"""Which sequences a batch holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rubout.checks.common import same
from rubout.learner import Demand
from rubout.noise import Noise
from rubout.tape import survivors, written
from rubout.training import setup
from rubout.training.data import Batches, Splits
from rubout.training.run import Run
from rubout.types import ActionSpace, Sequences, Trajectories
from tests.learners.group import members


@pytest.fixture(scope="module")
def data():
    """13 sequences of different lengths; the first token is their number."""
    rows = [[number, *[0] * (number % 5)] for number in range(13)]
    return written(ActionSpace(13, 5), Sequences.of(rows))


def numbers(batch) -> list[int]:
    return batch.actions_BT[:, 0].tolist()


@pytest.mark.parametrize("batch_size", [1, 4, 13, 20])
def test_every_sequence_once_an_epoch(data, batch_size):
    batches = Batches(data, batch_size, seed=3)
    epochs = 5
    drawn = []
    for update in range(-(-13 * epochs // batch_size)):
        batch = numbers(batches.batch(update))
        assert len(batch) == batch_size
        drawn += batch
    orders = [drawn[13 * epoch : 13 * epoch + 13] for epoch in range(epochs)]
    assert all(sorted(order) == list(range(13)) for order in orders)
    assert len({tuple(order) for order in orders}) == epochs, "each epoch has an order of its own"


def test_a_batch_is_a_pure_function_of_its_number(data):
    one, other = Batches(data, 4, seed=3), Batches(data, 4, seed=3)
    forwards = [numbers(one.batch(update)) for update in range(12)]
    backwards = [numbers(other.batch(update)) for update in reversed(range(12))]
    assert forwards == backwards[::-1]
    assert numbers(one.batch(1_000_000)) == numbers(other.batch(1_000_000))


def test_another_seed_gives_another_order(data):
    one, other = (numbers(Batches(data, 13, seed).batch(0)) for seed in (0, 1))
    assert one != other


@pytest.mark.parametrize("size", [2, 3, 6])
def test_ranks_partition_the_batch(data, size):
    whole = Batches(data, 6, seed=3)
    ranks = [Batches(data, 6, seed=3, rank=rank, size=size) for rank in range(size)]
    for update in range(9):
        parts = [numbers(rank.batch(update)) for rank in ranks]
        assert {len(part) for part in parts} == {6 // size}
        assert [number for part in parts for number in part] == numbers(whole.batch(update))


ARITHMETIC = {
    "task": "arithmetic",
    "task_options": {"train": 40, "validation": 5, "test": 5},
    "policy_options": {"embedding": 4, "hidden": 4},
}


@pytest.fixture
def ranks(config):
    """The runs of all ranks of a group, as far as their data go."""

    def ranks(size: int, kind: str, **values) -> list[Run]:
        given = config("sequence_match", **values)
        noise = {"rate": 0.3, "kind": kind}
        given = replace(given, learner_options=given.learner_options | {"noise": noise})
        task = setup.build_task(given)
        learners = [
            setup.build_learner(given, task, member, torch.device("cpu"))
            for member in members(size)
        ]
        return [Run(given, None, task, each, None, print) for each in learners]

    return ranks


@pytest.mark.parametrize("values", [{}, ARITHMETIC], ids=["text", "arithmetic"])
@pytest.mark.parametrize("kind", ["random", "plausible"])
@pytest.mark.parametrize("size", [2, 4])
def test_slips_are_the_same_however_a_batch_is_split(ranks, size, kind, values):
    (whole,) = ranks(1, kind, **values)
    parts = ranks(size, kind, **values)
    for update in range(4):
        together = whole.data(update)
        assert same(together, whole.data(update)), "a pure function of the update's number"
        found = Trajectories.cat([part.data(update) for part in parts])
        assert same(found.trimmed(), together.trimmed())
        slips = together.labels_BT != together.actions_BT
        typed = together.mask_BT & (together.actions_BT < whole.task.space.num_tokens)
        assert 0.05 < float(slips.sum() / typed.sum()) < 0.4
        meant = whole.batches.batch(update)
        space = whole.learner.context.space
        assert survivors(space, together).lists() == survivors(space, meant).lists()
    first = whole.batches.batch(0)
    whole.batches.batch = lambda update: first
    assert not same(whole.data(0), whole.data(1)), "the same text slips anew at every update"


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_slips_come_at_the_rate_that_is_asked_for(ranks, rate):
    (run,) = ranks(1, "random")
    noise = Noise(rate)
    run.learner.demand = lambda update: Demand(noise=noise)
    data, meant = run.data(0), run.batches.batch(0)
    if rate == 0:
        assert same(data, meant)
        return
    space = run.learner.context.space
    room = torch.minimum((space.action_limit - meant.num_actions_B) // 2, meant.num_actions_B)
    deletions = (data.actions_BT == space.backspace_id).sum(1)
    full = (meant.actions_BT < space.num_tokens).logical_and(meant.mask_BT).sum(1)
    can = meant.num_actions_B - (full == space.max_length).long()  # <eos> on a full tape cannot
    assert deletions.equal(torch.minimum(room, can))


def test_a_split_is_made_once_and_only_when_it_is_read(config):
    task = setup.build_task(config())
    made = []

    def split(name):
        made.append(name)
        return type(task).split(task, name)

    task.split = split
    splits = Splits(task)
    assert made == []
    for name in ("validation", "train", "validation"):
        assert same(splits[name], type(task).split(task, name))
    assert made == ["validation", "train"]


def test_a_learner_reads_the_training_split_alone(config):
    """The others are read by who evaluates."""
    given = config()
    task = setup.build_task(given)
    made = []
    split = task.split
    task.split = lambda name: made.append(name) or split(name)
    learner = setup.build_learner(given, task, members(1)[0], torch.device("cpu"))
    run = Run(given, None, task, learner, None, print)
    run.data(0)
    assert made == ["train"]


def test_epochs_are_counted(data):
    assert Batches(data, 4, seed=0).epoch(13) == 4
