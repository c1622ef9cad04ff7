"""Tables of figures: a line each, policies beside reference rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from rubout.evaluation import backspaces, quality
from rubout.evaluation.estimate import Estimate
from rubout.evaluation.evaluate import Row
from rubout.evaluation.titles import title_of
from rubout.task import Task

_EXPLAINED = 3  # columns that leave room to say what a figure is
_PERPLEXITY = {"nll_test": "perplexity", "nll_test_without": "perplexity without"}


def show(
    rows: Sequence[Row], task: Task, differences: Mapping[str, Mapping[str, Estimate]] | None = None
) -> None:
    """Figures with standard errors, in parts; then the model minus its baselines.

    Args:
        rows: the model first.
        task: whose test split was scored.
        differences: `rubout.evaluation.evaluate.paired`, or None.
    """
    print(f"\non {len(task.split('test')):,} test sequences; ± is a standard error")
    names = list(dict.fromkeys(name for row in rows for name in row.figures))
    apart = {"backspaces": backspaces.TITLES.keys(), "samples": quality.NAMES}
    rest = [name for name in names if not any(name in part for part in apart.values())]
    _part("", rest, rows)
    for heading, part in apart.items():
        _part(heading, [name for name in names if name in part], rows)
    print("NLL: nats per action, <eos> included; lower is better.")
    for name, found in (differences or {}).items():
        _differences(name, found)


def _part(heading: str, names: Sequence[str], rows: Sequence[Row]) -> None:
    """A line for each figure, a column for each row that has one of them."""
    users = [row for row in rows if row.figures.keys() & set(names)]
    if not users:
        return
    shown = Table()
    shown.add_column(heading)
    for row in users:
        shown.add_column(row.name, justify="right")
    explained = len(users) <= _EXPLAINED
    if explained:
        shown.add_column("what it is")
    for name in names:
        found = [row.figures.get(name) for row in users]
        title = title_of(name)
        shown.add_row(title.words, *map(_cell, found), *([title.meaning] * explained))
        if name in _PERPLEXITY:
            cells = ["" if one is None else _perplexity(one.mean) for one in found]
            shown.add_row(_PERPLEXITY[name], *cells)
    print_table(shown)


def _differences(other: str, found: Mapping[str, Estimate]) -> None:
    shown = Table()
    for heading in ("", "difference", "95% interval"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, one in found.items():
        low, high = one.interval()
        shown.add_row(title_of(name).words, f"{one.mean:+.4f}", f"{low:+.4f} to {high:+.4f}")
    print(f"\nmodel minus {other}, paired by sequence (bootstrap)")
    print_table(shown)


def print_table(shown: Table) -> None:
    """As wide as the terminal; elsewhere of 100 columns."""
    Console(width=None if Console().is_terminal else 100).print(shown)


def _perplexity(nll: float) -> str:
    return f"{math.exp(nll):.1f}" if nll < 100 else "inf"


def _cell(estimate: Estimate | None) -> str:
    if estimate is None:
        return ""
    if not math.isfinite(estimate.standard_error):
        return f"{estimate.mean:.4f}"
    return f"{estimate.mean:.4f} ± {estimate.standard_error:.4f}"
