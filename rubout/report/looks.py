"""How the charts of a search draw each trial: the same in all of them.

Colours go from worse to better along viridis (Smith and van der Walt, 2015), whose lightness rises
evenly, so that the order can be seen without telling hues apart. The better a trial, the more it
stands out from the page: dark on light, bright on dark.
"""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from rubout.report.axis import short
from rubout.report.trials import SearchFolder
from rubout.tuning.results import Trial

LEVELS = 7  # colours, in templates/chart.css


@dataclass(frozen=True)
class Look:
    """One trial in a chart.

    Attributes:
        kind: its CSS classes.
        words: what is said where it is pointed at.
        is_best: whether it is drawn over all others.
    """

    kind: str
    words: str
    is_best: bool = False


def looks(found: SearchFolder) -> dict[str, Look]:
    """By number, in the order of drawing: the best last, those without a figure first.

    The colour is that of the rank, not of the figure: one bad trial would make all others alike.
    """
    ranks = {trial.number: rank for rank, trial in enumerate(found.scored)}
    best = found.trials[0].number if found.best is not None else None
    drawn = {}
    for trial in reversed(found.trials):
        kind = colour(ranks.get(trial.number), len(ranks))
        if trial.status in ("stopped", "unfinished"):
            kind += " stopped"
        is_best = trial.number == best
        drawn[trial.number] = Look(f"{kind} best" if is_best else kind, _words(trial), is_best)
    return drawn


def colour(rank: int | None, count: int) -> str:
    """The class of a colour.

    Args:
        rank: from 0, the best; None: there is no figure to rank.
        count: trials that have one.
    """
    if rank is None:
        return "reference unranked"
    return f"rank-{round((LEVELS - 1) * (1 - rank / max(count - 1, 1)))}"


def legend() -> Markup:
    """All colours, from worse to better."""
    cells = Markup("").join(
        Markup('<path class="level rank-{}" d="M{} 0h14v10h-14z"/>').format(level, 14 * level)
        for level in range(LEVELS)
    )
    return Markup(
        '<svg class="swatch" width="{0}" height="10" viewBox="0 0 {0} 10" aria-hidden="true">'
        "{1}</svg>"
    ).format(14 * LEVELS, cells)


def stroke(kind: str) -> Markup:
    """A short piece of a trial's line."""
    return Markup(
        '<svg class="swatch" width="30" height="10" viewBox="0 0 30 10" aria-hidden="true">'
        '<polyline class="trial {}" points="1,5 29,5"/></svg>'
    ).format(kind)


def _words(trial: Trial) -> str:
    drawn = ", ".join(f"{name} {short(value)}" for name, value in trial.sample.items())
    return f"trial {trial.number} ({trial.status}): {drawn}"
