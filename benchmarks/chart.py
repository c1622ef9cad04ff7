"""Line charts as SVG: enough for a page of docs, and no plotting library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT, MARGIN = 420, 260, 46
COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860")

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        title: above it.
        lines: points by name.
    """

    title: str
    lines: Mapping[str, Points]

    def svg(self, left: int) -> list[str]:
        """Its elements, `left` pixels to the right."""
        points = [point for line in self.lines.values() for point in line]
        xs, ys = zip(*points, strict=True)
        low, high = min(ys), max(ys)
        span = (high - low) or 1.0

        def place(x: float, y: float) -> tuple[float, float]:
            across = left + MARGIN + x / max(xs) * (WIDTH - 1.5 * MARGIN)
            return across, HEIGHT - MARGIN - (y - low) / span * (HEIGHT - 2 * MARGIN)

        def text(x: float, y: float, words: str, anchor: str = "middle", fill: str = "#333") -> str:
            return (
                f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}">{words}</text>'
            )

        out = [text(left + WIDTH / 2, MARGIN / 2, escape(self.title))]
        for share in (0.0, 0.5, 1.0):
            across, up = place(share * max(xs), low + share * span)
            start, end = place(0, low)[0], place(max(xs), low)[0]
            out.append(
                f'<line x1="{start:.1f}" x2="{end:.1f}" y1="{up:.1f}" y2="{up:.1f}" stroke="#ddd"/>'
            )
            out.append(text(start - 4, up + 4, f"{low + share * span:.3g}", "end"))
            out.append(text(across, HEIGHT - MARGIN + 16, f"{share * max(xs):g}"))
        out.append(text(left + WIDTH / 2, HEIGHT - MARGIN + 34, "update"))
        for (name, line), colour in zip(self.lines.items(), COLOURS, strict=False):
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
            out.append(
                f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
            row = list(self.lines).index(name)
            out.append(
                text(left + WIDTH - MARGIN / 2, MARGIN + 14 * row, escape(name), "end", colour)
            )
        return out


def write(path: Path, panels: Sequence[Panel]) -> None:
    """Charts side by side, as one file."""
    width = WIDTH * len(panels)
    body = "\n".join(
        item for place, panel in enumerate(panels) for item in panel.svg(place * WIDTH)
    )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" width="{width}" '
        f'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{width}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n',
        encoding="utf-8",
    )
