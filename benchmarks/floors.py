"""What the machine itself takes, by the threads in use, in the run that is compared with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.common import best
from rubout.products import prepacked, product

ROWS = 128  # of one chunk: the logits of so many states stay in a core's cache


def product_of(inputs: int, outputs: int, *, constant: bool = False) -> Callable[[], Tensor]:
    """A product of 128 rows with a matrix [outputs, inputs], all of it in the cache.

    The faster of torch's own product and oneDNN's; a matrix that is constant is given to oneDNN in
    the order in which it reads it.
    """
    left, right = torch.randn(ROWS, inputs), torch.randn(outputs, inputs)
    packed = prepacked(right) if constant else right
    return _fastest(lambda: left @ right.T, lambda: product(left, packed))


def exponentials_of(elements: int, *, base_two: bool = True) -> Callable[[], Tensor]:
    """One exponential of each element of 128 rows, in the cache.

    The fastest of torch.exp2, torch.exp and torch.softmax, which besides sums and divides and yet
    is often faster than torch.exp.

    Args:
        elements: of a row.
        base_two: whether torch.exp2 is among them.
    """
    block = torch.randn(ROWS, elements)
    out = torch.empty_like(block)
    ways = [lambda: torch.exp(block, out=out), lambda: torch.softmax(block, 1, out=out)]
    return _fastest(*ways, *[lambda: torch.exp2(block, out=out)] * base_two)


def exponentials_s(elements: int) -> float:
    """Seconds a row of `exponentials_of`."""
    return best(exponentials_of(elements), 30) / ROWS


def matrix_rate() -> dict[str, float]:
    """Operations a second (multiply and add counted apart) of a product of 1024 x 1024."""
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    ways = {"torch": lambda: left @ right.T, "oneDNN": lambda: product(left, right)}
    return {name: 2 * 1024**3 / best(way, 10) for name, way in ways.items()}


def _fastest(*ways: Callable[[], Tensor]) -> Callable[[], Tensor]:
    return min(ways, key=lambda way: best(way, 30))
