"""Charts of trials on two axes of numbers: learning curves, and quality against diversity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rubout.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from rubout.report.looks import Look
from rubout.report.marks import Points, axes, described, path, text
from rubout.report.scale import Scale, spread

_LABEL_GAP = 13.0
_LABEL_ROOM = (0.2, 0.12)  # left of all points and below them, as shares of what they take


@dataclass(frozen=True)
class Curve:
    """A line: places in numbers, and how it looks."""

    points: Points
    look: Look


@dataclass(frozen=True)
class Dot:
    """A point: its place in numbers, how it looks, a label or nothing, and a radius in pixels."""

    place: tuple[float, float]
    look: Look
    label: str = ""
    radius: float = 4.6


@dataclass(frozen=True)
class Plane:
    """One chart; there is at least one point in it.

    Attributes:
        title: what is read upwards.
        across: what is read across.
        said: what there is to see, in words.
        curves: from the back to the front.
        dots: from the back to the front.
    """

    title: str
    across: str
    said: str
    curves: Sequence[Curve] = ()
    dots: Sequence[Dot] = ()

    def svg(self, name: str) -> Markup:
        """The chart, as an element of a page; `name`: that no other chart of the page has."""
        title = f"{self.title}, against {self.across}"
        begin = described(name, "chart", (WIDTH, HEIGHT), title, self.said)
        return begin + Markup("").join(self._body()) + Markup("</svg>")

    def scales(self) -> tuple[Scale, Scale]:
        """Across and upwards."""
        points = [point for curve in self.curves for point in curve.points]
        points += [dot.place for dot in self.dots]
        numbers = [[x for x, _ in points], [y for _, y in points]]
        if any(dot.label for dot in self.dots):
            for values, room in zip(numbers, _LABEL_ROOM, strict=True):
                values.append(min(values) - room * (max(values) - min(values)))
        across = Scale.around(numbers[0], LEFT, WIDTH - RIGHT, ticks=4)
        return across, Scale.around(numbers[1], HEIGHT - BOTTOM, TOP)

    def _body(self) -> Iterator[Markup]:
        across, up = self.scales()
        yield from axes(across, up)
        yield text(4, 15, self.title, "start", "axis-title")
        middle = (across.start + across.end) / 2
        yield text(middle, HEIGHT - 10, self.across, "middle", "axis-title")
        for curve in self.curves:
            points = path([(across(x), up(y)) for x, y in curve.points])
            yield Markup(
                '<polyline class="trial {}" points="{}"><title>{}</title></polyline>'
            ).format(curve.look.kind, points, curve.look.words)
        for dot in self.dots:
            x, y = across(dot.place[0]), up(dot.place[1])
            radius = dot.radius * (1.5 if dot.look.is_best else 1)
            yield Markup(
                '<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}">'
                "<title>{}</title></circle>"
            ).format(dot.look.kind, x, y, radius, dot.look.words)
        yield from self._labels(across, up)

    def _labels(self, across: Scale, up: Scale) -> Iterator[Markup]:
        """To the left of and below their points: there is nothing on that side of a front."""
        labelled = [dot for dot in self.dots if dot.label]
        wanted = [up(dot.place[1]) + 15 for dot in labelled]
        heights = spread(wanted, _LABEL_GAP, TOP, up.start)
        for dot, height in zip(labelled, heights, strict=True):
            yield text(across(dot.place[0]) - 7, height, dot.label, "end", "label halo")
