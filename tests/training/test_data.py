"""Which sequences a batch holds."""

from __future__ import annotations

import pytest

from rubout.tape import written
from rubout.training.data import Batches
from rubout.types import ActionSpace, Sequences


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


def test_epochs_are_counted(data):
    assert Batches(data, 4, seed=0).epoch(13) == 4
