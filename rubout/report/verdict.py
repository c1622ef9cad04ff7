"""The main result in words, no stronger than its intervals."""

from __future__ import annotations

import math

from rubout.evaluation.titles import title_of
from rubout.report.groups import Comparison
from rubout.report.results import of_group, paired, references
from rubout.report.values import Value, number

HEADLINE = "nll_test"


def headline(comparison: Comparison) -> str | None:
    """The main result in a sentence, no more than the intervals allow; None without figures."""
    scored = [
        (value, group)
        for group in comparison.groups
        if (value := of_group(group, HEADLINE)) is not None and math.isfinite(value.mean)
    ]
    if not scored:
        return None
    scored.sort(key=lambda item: item[0].mean)
    title = title_of(HEADLINE).words
    best, first = scored[0]
    if len(scored) == 1:
        return f"{first.label} has an {title} of {_said(best)}{_beside(comparison)}."
    (second_best, second), lead = scored[1], f"{first.label} has the lowest {title}"
    gap = paired(first, second, HEADLINE)
    values = f"{_said(best)}; next is {second.label}, {_said(second_best)}"
    if gap is None:
        return f"{lead}: {values}. Without two seeds in common, nothing is said of chance."
    apart = f"{number(gap.mean, 3)}\N{NO-BREAK SPACE}{gap.interval} over {gap.seeds} seeds"
    if gap.verdict == "lower":
        return f"{lead}: {values} (paired difference {apart})."
    return (
        f"{lead} on average, but not beyond chance: {values} "
        f"(paired difference {apart}: the interval holds 0)."
    )


def _said(value: Value) -> str:
    over = f", {value.seeds} seeds" if value.seeds > 1 else ""
    return "\N{NO-BREAK SPACE}".join(filter(None, (value.text, value.interval))) + over


def _beside(comparison: Comparison) -> str:
    """The references, as far as files have them."""
    found = [
        f"{label} {value.text}"
        for label, value in references(comparison, HEADLINE).items()
        if label != "uniform"
    ]
    return f" (references: {', '.join(found)})" if found else ""
