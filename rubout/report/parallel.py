"""Parallel coordinates: an axis for every option that was searched, a line for every trial.

Source: Inselberg, "The plane with parallel coordinates", The Visual Computer 1 (1985).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from rubout.report.axis import Axis, short
from rubout.report.looks import Look
from rubout.report.marks import Points, described, path, text
from rubout.search import Value

_CHARACTER = 6.6  # the width of one, about, in pixels
_NEAR = 0.07  # a tick so near the number of the best would touch it, as a share of an axis


@dataclass(frozen=True)
class Strand:
    """One line: its values by the names of axes, and how it looks."""

    values: Mapping[str, Value]
    look: Look


@dataclass(frozen=True)
class Layout:
    """Where axes are, in pixels.

    Attributes:
        width: of the chart.
        height: of the chart.
        first: where the first axis is.
        last: where the last one is.
        low: where an axis begins.
        high: where it ends.
        is_upright: whether axes point upwards, side by side; else they lie one below another.
    """

    width: float
    height: float
    first: float
    last: float
    low: float
    high: float
    is_upright: bool

    @staticmethod
    def upright(count: int) -> Layout:
        """For a wide page."""
        width = max(900.0, 140.0 * count)
        return Layout(width, 372, 76, width - 96, 352, 44, is_upright=True)

    @staticmethod
    def stacked(count: int) -> Layout:
        """For a phone."""
        height = 84.0 * (count - 1)
        return Layout(380, height + 70, 44, height + 44, 14, 366, is_upright=False)

    def place(self, axis: float, share: float) -> tuple[float, float]:
        """x and y of a value.

        Args:
            axis: 0: the first, 1: the last.
            share: 0: where the axis begins, 1: where it ends.
        """
        along = self.first + axis * (self.last - self.first)
        across = self.low + share * (self.high - self.low)
        return (along, across) if self.is_upright else (across, along)


@dataclass(frozen=True)
class Parallel:
    """The chart; both layouts of it say the same.

    Attributes:
        axes: by name, two or more; the last is the metric's.
        titles: what each is called on the chart.
        strands: the last is drawn over all others.
    """

    axes: Mapping[str, Axis]
    titles: Mapping[str, str]
    strands: Sequence[Strand]

    def svg(self, name: str, layout: Layout) -> Markup:
        """The chart, as an element of a page.

        Args:
            name: that no other chart of the page has.
            layout: of as many axes as there are.
        """
        parts = [self._line(strand, layout) for strand in self.strands]
        for title in self.axes:
            parts += self._axis(title, layout)
        for strand in self.strands:
            if strand.look.is_best:
                parts += self._values(strand, layout)
        kind = "chart parallel " + ("upright" if layout.is_upright else "stacked")
        begin = described(name, kind, (layout.width, layout.height), self._title(), self.said())
        return begin + Markup("").join(parts) + Markup("</svg>")

    def segments(self, strand: Strand, layout: Layout) -> list[Points]:
        """The places of a line; it is broken where it has no value."""
        runs = groupby(self.axes, key=lambda name: name in strand.values)
        return [
            [self._place(name, strand.values[name], layout) for name in names]
            for has_value, names in runs
            if has_value
        ]

    def said(self) -> str:
        """The axes and the best line, in words."""
        ends = [
            f"{self.titles[name]} ({', '.join(axis.categories)})"
            if axis.categories
            else f"{self.titles[name]} (from {short(axis.low)} to {short(axis.high)}"
            f"{', logarithmic' if axis.is_log else ''})"
            for name, axis in self.axes.items()
        ]
        best = [strand.look.words for strand in self.strands if strand.look.is_best]
        drawn = f"{len(self.strands)} lines across the axes {'; '.join(ends)}."
        return f"{drawn} Best: {best[0]}." if best else drawn

    def _title(self) -> str:
        return f"{', '.join(self.titles.values())} of every trial"

    def _place(self, name: str, value: Value, layout: Layout) -> tuple[float, float]:
        axis = list(self.axes).index(name) / (len(self.axes) - 1)
        return layout.place(axis, self.axes[name].share(value))

    def _line(self, strand: Strand, layout: Layout) -> Markup:
        """One trial; a lone value between two missing ones is a dot."""
        lines = Markup("").join(
            Markup('<polyline points="{}"/>').format(
                path(points if len(points) > 1 else points * 2)
            )
            for points in map(list, self.segments(strand, layout))
        )
        return Markup('<g class="trial {}"><title>{}</title>{}</g>').format(
            strand.look.kind, strand.look.words, lines
        )

    def _axis(self, name: str, layout: Layout) -> Iterator[Markup]:
        """The line, its title, and what stands along it."""
        axis, at = self.axes[name], list(self.axes).index(name) / (len(self.axes) - 1)
        (x, y), (end_x, end_y) = layout.place(at, 0), layout.place(at, 1)
        yield Markup('<line class="axis" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
            x, y, end_x, end_y
        )
        title = self.titles[name] + (" (log)" if axis.is_log else "")
        if layout.is_upright:
            room = (layout.last - layout.first) / (len(self.axes) - 1)
            yield text(end_x, end_y - 22, _fitted(title, room), "middle", "axis-name halo")
        else:
            yield text(x, y - 27, _fitted(title, end_x - x), "start", "axis-name halo")
        room = abs(layout.high - layout.low) / max(len(axis.categories), 3)
        taken = [strand.values.get(name) for strand in self.strands if strand.look.is_best]
        for share, words in axis.ticks:
            # The numbers of the best stand on the other side, but for the last upright axis.
            if (
                layout.is_upright
                and at == 1
                and any(
                    value is not None and abs(axis.share(value) - share) < _NEAR for value in taken
                )
            ):
                continue
            yield from self._tick(layout, at, share, _fitted(words, room))

    def _tick(self, layout: Layout, at: float, share: float, words: str) -> Iterator[Markup]:
        x, y = layout.place(at, share)
        if layout.is_upright:
            side = -1 if at < 1 else 1  # those of the metric stand outside
            anchor = "end" if at < 1 else "start"
            yield _dash(x, y, x + 5 * side, y)
            yield text(x + 9 * side, y + 4, words, anchor, "tick halo")
            return
        anchor = "start" if share <= 0 else "end" if share >= 1 else "middle"
        yield _dash(x, y, x, y + 5)
        yield text(x, y + 18, words, anchor, "tick halo")

    def _values(self, strand: Strand, layout: Layout) -> Iterator[Markup]:
        """Dots on the best line, with its numbers; names are on their axis already."""
        for name, axis in self.axes.items():
            if name not in strand.values:
                continue
            value = strand.values[name]
            x, y = self._place(name, value, layout)
            yield Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="4.6"/>').format(
                strand.look.kind, x, y
            )
            if axis.categories:
                continue
            if layout.is_upright:
                drop = 4.5 if name == list(self.axes)[-1] else -7
                yield text(x + 10, y + drop, short(value), "start", "best-value halo")
            else:
                anchor = "start" if x < layout.width / 2 else "end"
                yield text(x, y - 10, short(value), anchor, "best-value halo")


def _dash(x: float, y: float, end_x: float, end_y: float) -> Markup:
    return Markup('<line class="axis" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        x, y, end_x, end_y
    )


def _fitted(words: str, room: float) -> str:
    """As much of a name as there is room for, in pixels."""
    most = max(3, int(room / _CHARACTER))
    return words if len(words) <= most else f"{words[: most - 1]}…"
