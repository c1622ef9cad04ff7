"""Which expert sequences an update sees: a pure function of the seed and the update's number."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from rubout.rollout.draw import seed_of
from rubout.task import Split, Task
from rubout.types import Trajectories


class Splits:
    """The splits of a task, each made when it is first read, and kept.

    An update needs the training split alone. Only who evaluates reads the others.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._made: dict[Split, Trajectories] = {}

    def __getitem__(self, name: Split) -> Trajectories:
        if name not in self._made:
            self._made[name] = self._task.split(name)
        return self._made[name]


class Batches:
    """Batches drawn epoch by epoch without replacement; a batch may straddle two epochs.

    There is no cursor to save: batch `update` is the same whenever it is asked for.

    Args:
        data: all training sequences.
        batch_size: sequences a batch, over the whole group.
        seed: of the run.
        rank: of this learner; it sees the rank-th of `size` equal, contiguous parts.
        size: learners in the group.
    """

    def __init__(
        self, data: Trajectories, batch_size: int, seed: int, rank: int = 0, size: int = 1
    ) -> None:
        assert batch_size % size == 0
        self._data, self._batch_size, self._seed = data, batch_size, seed
        self._part = slice(rank * batch_size // size, (rank + 1) * batch_size // size)
        self._order = lru_cache(maxsize=2)(self._shuffle)

    def batch(self, update: int) -> Trajectories:
        """This learner's part of batch `update`, trimmed to its longest sequence."""
        rows: list[int] = []
        position = update * self._batch_size
        for place in range(position, position + self._batch_size)[self._part]:
            epoch, index = divmod(place, len(self._data))
            rows.append(int(self._order(epoch)[index]))
        return self._data[torch.tensor(rows)].trimmed()

    def epoch(self, update: int) -> float:
        """Passes over the data that are behind update `update`."""
        return update * self._batch_size / len(self._data)

    def _shuffle(self, epoch: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed_of(self._seed, "data", epoch))
        return torch.randperm(len(self._data), generator=generator)
