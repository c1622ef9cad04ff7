"""Starting up fast."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def keeping_all() -> Iterator[None]:
    """Look for no garbage while the block imports and builds; what is there at its end stays.

    Importing torch makes a million objects, none of them garbage: looking for some takes a quarter
    of the time. Nor do later collections look at them again.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.freeze()
            gc.enable()
