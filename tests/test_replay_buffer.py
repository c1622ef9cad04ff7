"""The replay buffer: first in, first out, all used alike, the same for any split."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rubout.checks.common import same
from rubout.replay_buffer import ReplayBuffer
from rubout.types import Sequences, Trajectories


def batch(number: int, size: int, width: int = 2) -> Trajectories:
    """Rows that say which batch and row they are, of different lengths."""
    typed = Sequences.of([[number, row, *[0] * (row % width)] for row in range(size)])
    return Trajectories(
        actions_BT=typed.tokens_BL,
        log_probs_BT=torch.zeros(typed.tokens_BL.shape),
        num_actions_B=typed.lengths_B,
        terminated_B=torch.ones(size, dtype=torch.bool),
        policy_version_B=torch.full((size,), number),
        prompts=Sequences.of([[row] for row in range(size)]),
    )


def filled(capacity: int, batches: int, rows: slice = slice(None), size: int = 12) -> ReplayBuffer:
    buffer = ReplayBuffer(capacity)
    for number in range(batches):
        buffer.add(batch(number, size, width=number + 1)[rows])
    return buffer


def names(taken: Trajectories) -> list[tuple[int, int]]:
    """Batch and row of each."""
    return [(number, row) for number, row, *_ in taken.actions_BT.tolist()]


@pytest.mark.parametrize("added", [1, 2, 3, 4, 7])
def test_first_in_first_out(added: int) -> None:
    buffer = filled(3, added)
    held = list(range(added))[-3:]
    assert len(buffer) == len(held)
    taken = {number for update in range(9) for number, _ in names(buffer.take(update))}
    assert taken == set(held)
    versions = [item.policy_version_B[0].item() for item in buffer.contents().values()]
    assert versions == held, "oldest first"


@settings(max_examples=60, deadline=None)
@given(
    batches=st.integers(1, 4),
    stride=st.integers(1, 5),
    start=st.integers(0, 30),
    first_row=st.sampled_from([0, 12, 24]),
)
def test_everything_is_taken_once(batches: int, stride: int, start: int, first_row: int) -> None:
    """Whatever the update it begins at, and on every rank."""
    buffer = filled(4, batches)
    times = Counter(
        name
        for update in range(start, start + stride * batches)
        for name in names(buffer.take(update, first_row, stride))
    )
    assert set(times) == {(number, row) for number in range(batches) for row in range(12)}
    assert set(times.values()) == {1}


@settings(max_examples=40, deadline=None)
@given(update=st.integers(0, 40), stride=st.integers(1, 6), batches=st.integers(1, 5))
def test_each_update_takes_from_all_batches_alike(update: int, stride: int, batches: int) -> None:
    taken = names(filled(5, batches).take(update, stride=stride))
    rows = [row for _, row in taken]
    assert rows == [row for row in range(12) if (row + update) % stride == 0]
    counts = Counter(number for number, _ in taken)
    assert max(counts.values()) - min(counts[number] for number in range(batches)) <= 1


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_split_over_ranks_takes_what_one_would(size: int, stride: int) -> None:
    share = 12 // size
    ranks = [filled(3, 4, slice(rank * share, (rank + 1) * share)) for rank in range(size)]
    whole = filled(3, 4)
    for update in range(20):
        parts = [
            names(buffer.take(update, rank * share, stride)) for rank, buffer in enumerate(ranks)
        ]
        together = [name for part in parts for name in part]
        assert together == names(whole.take(update, 0, stride))
        assert all(parts), "no rank is left without"


def test_what_is_taken_is_trimmed_and_whole() -> None:
    buffer = ReplayBuffer(2)
    buffer.add(batch(0, 4, width=4))
    buffer.add(batch(1, 4, width=1))
    taken = buffer.take(5, stride=4)
    assert names(taken) == [(1, 3)]
    assert same(taken, batch(1, 4, width=1)[3:].trimmed())


def test_a_batch_that_was_dropped_is_in_use_no_more() -> None:
    buffer = filled(2, 2)
    before = names(buffer.take(0))
    buffer.add(batch(2, 12))
    assert {number for number, _ in before} == {0, 1}
    assert {number for number, _ in names(buffer.take(0))} == {1, 2}


def test_contents_and_restore() -> None:
    buffer = filled(11, 12)  # more than ten: their names are numbers, not words
    other = filled(11, 2)
    other.restore(buffer.contents())
    assert len(other) == 11
    assert same(other.contents(), buffer.contents())
    for update in range(11):
        assert same(other.take(update, stride=3), buffer.take(update, stride=3))
    for each in (buffer, other):
        each.add(batch(20, 12))
    assert same(other.contents(), buffer.contents()), "the same one is the oldest"


def test_restore_from_nothing_is_empty() -> None:
    buffer = filled(3, 2)
    buffer.restore({})
    assert len(buffer) == 0
    assert buffer.contents() == {}
    with pytest.raises(LookupError, match="empty"):
        buffer.take(0)


def test_bad_use() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        ReplayBuffer(0)
    with pytest.raises(LookupError, match="empty"):
        ReplayBuffer(1).take(0)
    buffer = filled(2, 1)
    with pytest.raises(AssertionError):
        buffer.add(batch(1, 5))
