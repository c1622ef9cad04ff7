"""Charts: where things are, and that nothing said in them is markup."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubout.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Line, Panel, write
from rubout.report.scale import Scale, spread

NUMBERS = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))


def elements(panel: Panel, kind: str) -> list[ET.Element]:
    """Of a class, in a chart."""
    tree = ET.fromstring(panel.svg("one"))
    return [item for item in tree.iter() if kind in item.get("class", "").split()]


def test_a_point_is_where_its_numbers_say():
    panel = Panel("y", {"one": [(0, 0.0), (50, 1.0), (100, 4.0)]})
    [line] = elements(panel, "line")
    right, bottom, top = WIDTH - RIGHT, HEIGHT - BOTTOM, TOP
    expected = [
        (LEFT, bottom),
        ((LEFT + right) / 2, bottom + (top - bottom) / 4),
        (right, top),
    ]
    found = [tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()]
    assert found == [pytest.approx(pair, abs=0.06) for pair in expected]


def test_a_band_is_drawn_around_its_line_and_clipped_to_the_axes():
    band = [(0, 0.5, 1.5), (10, 1.0, 3.0)]
    panel = Panel("y", {"one": Line([(0, 1.0), (10, 2.0)], band=band)})
    across, up = panel.scales()
    [polygon] = elements(panel, "band")
    corners = [(0, 1.5), (10, 3.0), (10, 1.0), (0, 0.5)]
    expected = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in corners)
    assert polygon.get("points") == expected
    assert polygon.get("clip-path") == "url(#one-clip)"


def test_a_wide_band_does_not_flatten_the_lines():
    line = Line([(0, 1.0), (10, 2.0)], band=[(0, -1000.0, 1000.0), (10, 1.9, 2.1)])
    _, up = Panel("y", {"one": line}).scales()
    assert up.low >= 0.0
    assert up.high <= 3.0


def test_lines_differ_in_colour_dash_or_marker():
    panel = Panel("y", {str(name): [(0, name), (1, name)] for name in range(28)})
    looks = {
        (line.get("class"), line.get("stroke-dasharray"), marker.get("d"))
        for line, marker in zip(
            elements(panel, "line"), elements(panel, "marker")[::2], strict=True
        )
    }
    assert len(looks) == 28


def test_rings_stand_at_their_points_and_are_explained():
    panel = Panel("y", {"one": Line([(0, 0.0), (10, 10.0)], rings=[(5, 5.0)])})
    across, up = panel.scales()
    _, ring = elements(panel, "ring")
    assert (ring.get("cx"), ring.get("cy")) == (f"{across(5):.1f}", f"{up(5):.1f}")
    assert "T = 1" in panel.svg("one")


def test_labels_stand_beside_few_lines_and_not_beside_many_or_one():
    def labels(count: int) -> list[str | None]:
        panel = Panel("y", {f"line {name}": [(0, name)] for name in range(count)})
        return [label.text for label in elements(panel, "label")]

    assert labels(1) == []
    assert labels(3) == ["line 0", "line 1", "line 2"]
    assert labels(30) == []


def test_a_chart_says_in_words_what_it_shows():
    panel = Panel("NLL", {"mle": [(0, 5.0), (100, 4.25)], "none": []}, across="update")
    tree = ET.fromstring(panel.svg("one"))
    words = {item.tag.rpartition("}")[2]: item for item in tree}
    assert tree.get("role") == "img"
    assert tree.get("aria-labelledby") == f"{words['title'].get('id')} {words['desc'].get('id')}"
    assert words["title"].text == "NLL, against update"
    assert words["desc"].text == "mle: from 5 at 0 to 4.25 at 100."


def test_names_are_text_not_markup():
    svg = Panel("<i>&", {"<script>": [(0, 1.0)], '"q"': [(1, 1.0)]}, across="</svg>").svg("one")
    texts = {item.text for item in ET.fromstring(svg).iter() if item.text}
    assert {"<i>&", "</svg>", "<script>", '"q"'} <= texts


def test_a_file_holds_its_panels_side_by_side(tmp_path):
    path = tmp_path / "charts.svg"
    write(path, [Panel("one", {"a": [(0, 1.0), (1, 2.0)]}), Panel("two", {"a": [(0, 1.0)]})])
    tree = ET.parse(path).getroot()
    panels = [item for item in tree if item.get("class") == "chart"]
    assert [panel.get("x") for panel in panels] == ["0", str(WIDTH)]
    assert tree.get("width") == str(2 * WIDTH)
    identifiers = re.findall(r'id="([^"]+)"', path.read_text())
    assert len(identifiers) == len(set(identifiers))


@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_an_axis_holds_its_values_between_two_ticks(values):
    scale = Scale.around(values, 10.0, 110.0)
    ticks = scale.ticks
    slack = 1e-6 * scale.step
    assert ticks[0] - slack <= min(values)
    assert max(values) <= ticks[-1] + slack
    assert 2 <= len(ticks) <= 12
    assert scale(ticks[0]) == pytest.approx(10.0)
    assert scale(ticks[-1]) == pytest.approx(110.0)
    step = scale.step / 10 ** math.floor(math.log10(scale.step) + 1e-9)
    assert min(abs(step - nice) for nice in (1, 2, 2.5, 5, 10)) < 1e-6


@given(st.lists(NUMBERS, min_size=1, max_size=20))
def test_ticks_are_told_apart(values):
    scale = Scale.around(values, 0.0, 1.0)
    words = [scale.words(tick) for tick in scale.ticks]
    assert len(set(words)) == len(words)


def test_ticks_read_well():
    def words(*values: float) -> list[str]:
        scale = Scale.around(values, 0.0, 1.0)
        return [scale.words(tick) for tick in scale.ticks]

    assert words(0, 2000) == ["0", "500", "1,000", "1,500", "2,000"]
    assert words(-1, 1) == ["\N{MINUS SIGN}1.0", "\N{MINUS SIGN}0.5", "0.0", "0.5", "1.0"]
    assert words(4.02, 4.98) == ["4.0", "4.2", "4.4", "4.6", "4.8", "5.0"]
    assert words(0, 1.2) == ["0.00", "0.25", "0.50", "0.75", "1.00", "1.25"]


@given(st.lists(st.floats(0, 100), max_size=8), st.floats(0.5, 12))
def test_labels_keep_their_distance_their_order_and_their_bounds(wanted, gap):
    places = spread(wanted, gap, 0.0, 100.0)
    assert len(places) == len(wanted)
    assert all(-1e-6 <= place <= 100 + 1e-6 for place in places)
    ordered = sorted(places)
    assert all(b - a >= gap - 1e-6 for a, b in pairwise(ordered))
    for i, one in enumerate(wanted):
        for j, other in enumerate(wanted):
            assert not (one < other and places[i] > places[j])


def test_labels_that_have_room_stay_where_they_are():
    assert spread([50.0, 10.0], 5.0, 0.0, 100.0) == [50.0, 10.0]
    assert spread([50.0, 50.0], 10.0, 0.0, 100.0) == [45.0, 55.0]
