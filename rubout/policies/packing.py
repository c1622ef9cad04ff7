"""The entries of padded tensors that mean something, side by side.

Where they are is found once: on a GPU every search for them waits for the device.
"""

from __future__ import annotations

from torch import Tensor


class Packing:
    """M entries of tensors [B, S, ...].

    Attributes:
        shape: (B, S).
        places_M: int64 [M], their numbers in the flattened [B S], ascending.
    """

    def __init__(self, real_BS: Tensor) -> None:
        self.shape = real_BS.shape
        self.places_M = real_BS.flatten().nonzero().squeeze(1)

    def pack(self, values_BS: Tensor) -> Tensor:
        """The entries of a tensor [B, S, ...], of this shape and no other: [M, ...]."""
        assert values_BS.shape[:2] == self.shape
        return values_BS.flatten(0, 1).index_select(0, self.places_M)

    def pad(self, values_M: Tensor) -> Tensor:
        """[M, ...] where they belong, 0 elsewhere: [B, S, ...]."""
        flat = values_M.new_zeros(self.shape.numel(), *values_M.shape[1:])
        return flat.index_copy(0, self.places_M, values_M).view(*self.shape, *values_M.shape[1:])
