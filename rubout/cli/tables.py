"""Tables of figures: policies beside reference rows."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from rubout.evaluation import backspaces
from rubout.evaluation.estimate import Estimate
from rubout.evaluation.evaluate import Row
from rubout.task import Task

_TITLES = {
    "nll_test": "NLL test",
    "nll_oracle": "NLL oracle",
    "exact_match": "exact match",
}


def show(rows: list[Row], task: Task) -> None:
    """Figures with standard errors, model beside references."""
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    names = [name for name in names if name not in backspaces.TITLES]
    print(f"\non {len(task.split('test')):,} test sequences; ± is a standard error")
    shown = Table()
    shown.add_column("")
    for name in names:
        shown.add_column(_TITLES.get(name, name), justify="right")
        if name == "nll_test":
            shown.add_column("perplexity", justify="right")
    for row in rows:
        cells = [row.name]
        for name in names:
            estimate = row.figures.get(name)
            cells.append(_cell(estimate))
            if name == "nll_test":
                cells.append("" if estimate is None else _perplexity(estimate.mean))
        shown.add_row(*cells)
    _print_table(shown)
    print("NLL: nats per action, <eos> included; lower is better.")
    _backspace_table(rows)


def _backspace_table(rows: list[Row]) -> None:
    """A line for each figure on the backspace, for the policies that have one."""
    users = [row for row in rows if row.figures.keys() & backspaces.TITLES.keys()]
    if not users:
        return
    shown = Table()
    for heading in ("backspaces", *(row.name for row in users), "what it is"):
        shown.add_column(heading)
    for name, (title, meaning) in backspaces.TITLES.items():
        found = [row.figures.get(name) for row in users]
        if any(found):
            shown.add_row(title, *(_cell(estimate) for estimate in found), meaning)
        if name == "nll_test_without":
            cells = ["" if one is None else _perplexity(one.mean) for one in found]
            shown.add_row("perplexity without", *cells, "the same as a perplexity")
    print()
    _print_table(shown)


def _print_table(shown: Table) -> None:
    Console(width=None if Console().is_terminal else 100).print(shown)


def _perplexity(nll: float) -> str:
    return f"{math.exp(nll):.1f}" if nll < 100 else "inf"


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    return f"{estimate.mean:.4f} ± {estimate.standard_error:.4f}"
