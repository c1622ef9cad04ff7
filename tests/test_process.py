"""What a process that computes does first."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
import torch

from rubout.process import set_up

# Fresh pages that twenty blocks of 8 MiB take when they are made a second time.
PAGES = """
import resource, torch
from rubout.process import set_up
{first}
found = []
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(2**21) for _ in range(20)]
    del blocks
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(found[1])
"""


def test_threads() -> None:
    before = torch.get_num_threads()
    set_up(2)
    assert torch.get_num_threads() == 2
    set_up(before)
    assert torch.get_num_threads() == before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an allocator of another kind")
def test_memory_that_was_freed_is_kept() -> None:
    """Torch by itself asks for nearly all of 40,960 pages again."""
    kept, plain = (
        int(subprocess.check_output([sys.executable, "-c", PAGES.format(first=first)]))
        for first in ("set_up(1)", "torch.set_num_threads(1)")
    )
    assert plain > 30_000
    assert kept < plain / 2
