"""The last few batches of rollouts, to be used again."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import torch

from rubout.types import Trajectories


class ReplayBuffer:
    """Whole batches of trajectories, first in, first out; every one of them is used equally often.

    Only actions are kept: who uses them scores them anew. What is taken is a pure function of the
    update's number and of the row in the group's batch, so there is no draw to repeat, no position
    to save, and any split of a batch over learners takes the same.

    Args:
        capacity: batches; the oldest is dropped for a new one.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("a replay buffer needs a capacity of at least one batch")
        self._batches: deque[Trajectories] = deque(maxlen=capacity)
        self._all: Trajectories | None = None

    def __len__(self) -> int:
        """Batches held."""
        return len(self._batches)

    def add(self, batch: Trajectories) -> None:
        """Hold one more batch; all have the same number of rows."""
        assert not self._batches or len(batch) == len(self._batches[0])
        self._batches.append(batch)
        self._all = Trajectories.cat(list(self._batches))

    def take(self, update: int, first_row: int = 0, stride: int = 1) -> Trajectories:
        """Every `stride`-th row, of this batch and that.

        In `stride` times `len(self)` updates without an addition, every trajectory is taken once.

        Args:
            update: the update's number.
            first_row: the number of row 0 in the group's batch.
            stride: how many rows are passed over for one that is taken.

        Returns:
            on the device they were added on, trimmed to the widest.
        """
        if self._all is None:
            raise LookupError("the replay buffer is empty")
        size = len(self._batches[0])
        rows = torch.arange(size, device=self._all.num_actions_B.device)
        numbers = rows + first_row
        rows = rows[(numbers + update) % stride == 0]
        batches = (numbers[rows] // stride + update // stride) % len(self._batches)
        return self._all[batches * size + rows].trimmed()

    def contents(self) -> dict[str, Trajectories]:
        """All that is held, oldest first: what a checkpoint keeps."""
        return {str(place): batch for place, batch in enumerate(self._batches)}

    def restore(self, contents: Mapping[str, Trajectories]) -> None:
        """Hold what `contents` gave."""
        self._batches.clear()
        self._all = None
        for place in sorted(contents, key=int):
            self.add(contents[place])
