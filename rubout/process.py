"""What a process that computes does first."""

from __future__ import annotations

import ctypes
import sys

import torch

# glibc's names for two of its settings (malloc.h), and what they become, in bytes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _FROM_THE_HEAP = 2**28, 2**25


def set_up(threads: int) -> None:
    """Take so many threads, and keep memory that is freed for what is made next.

    glibc hands blocks of some megabytes back to the system as soon as they are free, and the next
    chunk of logits then meets fresh pages, which cost more than what is computed in them. Here
    blocks of up to 32 MiB come from the heap, and up to 256 MiB at its end stay.

    Args:
        threads: of torch's products.
    """
    torch.set_num_threads(threads)
    if sys.platform == "linux":
        allocator = ctypes.CDLL(None)
        if hasattr(allocator, "mallopt"):
            allocator.mallopt(_MMAP_THRESHOLD, _FROM_THE_HEAP)
            allocator.mallopt(_TRIM_THRESHOLD, _KEPT)
