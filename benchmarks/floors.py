"""What the machine itself takes, measured in the run that is compared with it."""

from __future__ import annotations

from functools import cache

import torch

from benchmarks.common import best
from rubout.products import product

_ROWS = 128  # of one chunk: the logits of so many states stay in a core's cache


@cache
def product_s(inputs: int, outputs: int) -> float:
    """Seconds a row of a product with a matrix [outputs, inputs], on one thread.

    The faster of torch's own product and oneDNN's, on rows that stay in the cache.
    """
    left, right = torch.randn(_ROWS, inputs), torch.randn(outputs, inputs)
    ways = (lambda: left @ right.T, lambda: product(left, right))
    return min(best(way, 30) for way in ways) / _ROWS


@cache
def exponentials_s(elements: int) -> float:
    """Seconds of one exponential of each element of a row, on one thread.

    The faster of torch.exp and torch.softmax, which besides sums and divides and yet is often the
    faster, on rows that stay in the cache.
    """
    block = torch.randn(_ROWS, elements)
    out = torch.empty_like(block)
    ways = (lambda: torch.exp(block, out=out), lambda: torch.softmax(block, 1, out=out))
    return min(best(way, 30) for way in ways) / _ROWS


def matrix_rate() -> dict[str, float]:
    """Operations a second (multiply and add counted apart) of a product of 1024 x 1024."""
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    ways = {"torch": lambda: left @ right.T, "oneDNN": lambda: product(left, right)}
    return {name: 2 * 1024**3 / best(way, 10) for name, way in ways.items()}
