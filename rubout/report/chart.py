"""Line charts as SVG that follow the page's colours: no plotting library.

Colours are near those of Okabe and Ito ("Color Universal Design", 2008); markers and dashes tell
lines apart as well. All colours are CSS variables: a page sets them for light, dark and paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from rubout.report.marks import Points, axes, path, text
from rubout.report.scale import Scale, spread

WIDTH, HEIGHT = 420, 290
TOP, BOTTOM, LEFT, RIGHT = 38, 48, 54, 14
COLOURS = 7  # how many there are, before dashes and markers alone tell lines apart
DASHES = ("none", "8 3", "2.5 2.5", "9 3 2 3")
MARKERS = (
    "M-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0 -6.8 0z",  # a circle
    "M-3 -3h6v6h-6z",  # a square
    "M0 -4L3.8 3H-3.8z",  # a triangle
    "M0 -4.4L4.4 0L0 4.4L-4.4 0z",  # a diamond
    "M0 4L3.8 -3H-3.8z",  # a triangle on its tip
    "M-3.6 -1.2h2.4v-2.4h2.4v2.4h2.4v2.4h-2.4v2.4h-2.4v-2.4h-2.4z",  # a cross
    "M0 -4.2L1.2 -1.3H4.2L1.9 .7L2.7 3.6L0 1.9L-2.7 3.6L-1.9 .7L-4.2 -1.3H-1.2z",  # a star
    "M-4 -1.8h8v3.6h-8z",  # a bar
)
RING = "T = 1"  # what a ring says of a point
_MARKERS_A_LINE = 6
_LABEL_GAP = 14.0  # from one label to the next, in pixels
_CHARACTER = 7.0  # the width of one, about
_LONGEST = 17  # characters of a label beside a line
_MOST_LABELS = 9  # beside lines; more are left to the legend
_BAND_ROOM = 0.5  # what bands may add to an axis, as a share of what lines take


@dataclass(frozen=True)
class Line:
    """What one name stands for.

    Attributes:
        points: x and y, finite; drawn in this order.
        band: x, low and high of an interval, finite; empty: none.
        thin: lines of single runs.
        style: which colour, dash and marker; None: that of what others are compared with.
        rings: points that stand out; the label is led from the first.
    """

    points: Points
    band: Sequence[tuple[float, float, float]] = ()
    thin: Sequence[Points] = ()
    style: int | None = 0
    rings: Points = ()

    @property
    def all_points(self) -> list[tuple[float, float]]:
        """Of all lines, not of the band."""
        return [*self.points, *(point for points in self.thin for point in points)]

    @property
    def anchor(self) -> tuple[float, float]:
        """Where the label is led from."""
        return (*self.rings, *reversed(self.points), *self.all_points)[0]


@dataclass(frozen=True)
class Panel:
    """One chart; there is at least one point in it.

    Attributes:
        title: above it: what is read upwards.
        lines: by name; bare points are a line in the style of their place.
        across: below it: what is read across.
    """

    title: str
    lines: Mapping[str, Line | Points]
    across: str = "update"

    @property
    def drawn(self) -> dict[str, Line]:
        """The lines that have a point."""
        lines = {
            name: line if isinstance(line, Line) else Line(line, style=place)
            for place, (name, line) in enumerate(self.lines.items())
        }
        return {name: line for name, line in lines.items() if line.all_points}

    def svg(self, name: str, left: int = 0) -> Markup:
        """The chart, as an element of a page or of another SVG.

        Args:
            name: that no other chart of the page has.
            left: how far from the edge of an SVG around it, in pixels.
        """
        return Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" class="chart" x="{left}" width="{width}" '
            'height="{height}" viewBox="0 0 {width} {height}" role="img" '
            'aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{title}</title>'
            '<desc id="{name}-desc">{desc}</desc>{body}</svg>'
        ).format(
            left=left,
            width=WIDTH,
            height=HEIGHT,
            name=name,
            title=f"{self.title}, against {self.across}",
            desc=self.described(),
            body=Markup("").join(self._body(name)),
        )

    def described(self) -> str:
        """Where every line begins and ends, in words."""
        said = []
        for name, line in self.drawn.items():
            (x, y), (last_x, last_y) = line.all_points[0], (line.points or line.all_points)[-1]
            said.append(f"{name}: from {y:.4g} at {x:.4g} to {last_y:.4g} at {last_x:.4g}")
        return "; ".join(said) + "."

    def scales(self) -> tuple[Scale, Scale]:
        """Across and upwards."""
        lines = self.drawn
        points = [point for line in lines.values() for point in line.all_points]
        heights = [y for _, y in points]
        low, high = min(heights), max(heights)
        room = _BAND_ROOM * (high - low)
        ends = [end for line in lines.values() for _, *both in line.band for end in both]
        heights += [min(max(end, low - room), high + room) for end in ends]
        right = RIGHT
        if self._is_labelled:
            right += round(10 + _CHARACTER * max(len(_shortened(name)) for name in lines))
        across = Scale.around([x for x, _ in points], LEFT, WIDTH - right, ticks=4)
        return across, Scale.around(heights, HEIGHT - BOTTOM, TOP)

    @property
    def _is_labelled(self) -> bool:
        return 1 < len(self.drawn) <= _MOST_LABELS

    def _body(self, name: str) -> list[Markup]:
        """Axes, then bands, thin lines, lines, markers and labels, from the back to the front."""
        across, up = self.scales()
        lines = self.drawn.values()
        parts = [*axes(across, up), *self._titles(across), _clip(f"{name}-clip", across, up)]
        parts += [_band(line, across, up, f"{name}-clip") for line in lines if line.band]
        for line in lines:
            parts += [_polyline(thin, across, up, "thin", line.style) for thin in line.thin]
        for line in lines:
            if line.points:
                parts.append(_polyline(line.points, across, up, "line", line.style))
            parts += _markers(line, across, up)
        return parts + (self._labels(across, up) if self._is_labelled else [])

    def _titles(self, across: Scale) -> list[Markup]:
        middle = (across.start + across.end) / 2
        titles = [
            text(4, 15, self.title, "start", "axis-title"),
            text(middle, HEIGHT - 10, self.across, "middle", "axis-title"),
        ]
        if any(line.rings for line in self.drawn.values()):
            key = Markup('<circle class="ring reference" cx="{}" cy="11" r="6"/>')
            titles += [key.format(WIDTH - 52), text(WIDTH - 40, 15, RING, "start", "axis-title")]
        return titles

    def _labels(self, across: Scale, up: Scale) -> list[Markup]:
        """Names on the right, led from their lines."""
        lines = self.drawn
        anchors = [(across(x), up(y)) for x, y in (line.anchor for line in lines.values())]
        heights = spread([y for _, y in anchors], _LABEL_GAP, TOP, HEIGHT - BOTTOM)
        left = across.end + 14
        parts = []
        for (name, line), (x, y), height in zip(lines.items(), anchors, heights, strict=True):
            leader = f"{x + 5:.1f},{y:.1f} {left - 4:.1f},{height:.1f}"
            if left - x > 20 or abs(height - y) > 3:
                parts.append(
                    Markup('<polyline class="leader {}" points="{}"/>').format(
                        colour_class(line.style), leader
                    )
                )
            parts.append(text(left, height + 4, _shortened(name), "start", "label"))
        return parts


def colour_class(style: int | None) -> str:
    """The class of a style's colour."""
    return "reference" if style is None else f"colour-{style % COLOURS}"


def swatch(style: int | None) -> Markup:
    """A short piece of line with its marker, for legends and tables."""
    return Markup(
        '<svg class="swatch" width="30" height="12" viewBox="0 0 30 12" aria-hidden="true">'
        '<path class="line {0}" stroke-dasharray="{1}" d="M1 6H29"/>'
        '<path class="marker {0}" transform="translate(15 6)" d="{2}"/></svg>'
    ).format(colour_class(style), _dash(style), _marker(style))


def write(out: Path, panels: Sequence[Panel]) -> None:
    """Charts side by side, as one file on white."""
    width = WIDTH * len(panels)
    charts = "\n".join(
        panel.svg(f"panel-{place}", place * WIDTH) for place, panel in enumerate(panels)
    )
    style = (Path(__file__).parent / "templates" / "chart.css").read_text(encoding="utf-8")
    out.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}">\n'
        f"<style>\n{style}</style>\n"
        f'<rect width="{width}" height="{HEIGHT}" fill="white"/>\n{charts}\n</svg>\n',
        encoding="utf-8",
    )


def _clip(name: str, across: Scale, up: Scale) -> Markup:
    """What a band may not leave."""
    return Markup(
        '<clipPath id="{}"><rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/></clipPath>'
    ).format(name, across.start, up.end, across.end - across.start, up.start - up.end)


def _band(line: Line, across: Scale, up: Scale, clip: str) -> Markup:
    top = [(across(x), up(high)) for x, _, high in line.band]
    bottom = [(across(x), up(low)) for x, low, _ in reversed(line.band)]
    return Markup('<polygon class="band {}" clip-path="url(#{})" points="{}"/>').format(
        colour_class(line.style), clip, path([*top, *bottom])
    )


def _polyline(points: Points, across: Scale, up: Scale, kind: str, style: int | None) -> Markup:
    placed = path([(across(x), up(y)) for x, y in points])
    return Markup('<polyline class="{} {}" stroke-dasharray="{}" points="{}"/>').format(
        kind, colour_class(style), _dash(style), placed
    )


def _markers(line: Line, across: Scale, up: Scale) -> list[Markup]:
    """A few markers along a line, and rings."""
    every = max(1, round(len(line.points) / _MARKERS_A_LINE))
    offset = (line.style or 0) * every // (_MARKERS_A_LINE + 1)  # not all lines' at the same x
    shown = line.points[offset % every :: every] if line.style is not None else ()
    parts = [
        Markup('<path class="marker {}" transform="translate({:.1f} {:.1f})" d="{}"/>').format(
            colour_class(line.style), across(x), up(y), _marker(line.style)
        )
        for x, y in shown
    ]
    rings = [
        Markup('<circle class="ring {}" cx="{:.1f}" cy="{:.1f}" r="6"/>').format(
            colour_class(line.style), across(x), up(y)
        )
        for x, y in line.rings
    ]
    return parts + rings


def _dash(style: int | None) -> str:
    return "3 4" if style is None else DASHES[style % len(DASHES)]


def _marker(style: int | None) -> str:
    return "" if style is None else MARKERS[style % len(MARKERS)]


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
