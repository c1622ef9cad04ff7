"""What charts are drawn with: text, grids and places, as SVG."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from rubout.report.scale import Scale

Points = Sequence[tuple[float, float]]


def axes(across: Scale, up: Scale) -> list[Markup]:
    """Lines of the grid, and numbers."""
    parts = []
    for tick in up.ticks:
        grid = Markup('<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>')
        parts.append(grid.format(across.start, across.end, up(tick), up(tick)))
        parts.append(text(across.start - 7, up(tick) + 4, up.words(tick), "end", "tick"))
    for tick in across.ticks:
        mark = Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}"/>')
        parts.append(mark.format(across(tick), up.start, up.start + 4))
        parts.append(text(across(tick), up.start + 17, across.words(tick), "middle", "tick"))
    return parts


def path(points: Points) -> str:
    """Points as the attribute of a polyline, to a tenth of a pixel."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def text(x: float, y: float, words: str, anchor: str, kind: str) -> Markup:
    """Words at a place.

    Args:
        x: in pixels.
        y: of the line they stand on, in pixels.
        words: are escaped.
        anchor: `start`, `middle` or `end`: which part of them is at x.
        kind: classes.
    """
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, words
    )


def described(name: str, kind: str, size: tuple[float, float], title: str, desc: str) -> Markup:
    """How a chart's SVG begins: with its title and what it shows, in words.

    Args:
        name: that no other chart of the page has.
        kind: classes.
        size: width and height, in pixels.
        title: is escaped.
        desc: is escaped.
    """
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" class="{kind}" viewBox="0 0 {width} {height}" '
        'role="img" aria-labelledby="{name}-title {name}-desc">'
        '<title id="{name}-title">{title}</title><desc id="{name}-desc">{desc}</desc>'
    ).format(kind=kind, width=size[0], height=size[1], name=name, title=title, desc=desc)
