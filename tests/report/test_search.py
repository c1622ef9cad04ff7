"""A search: where trials are in its charts, in which order, and what is said of them."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rubout.errors import UserError
from rubout.report.axis import Axis
from rubout.report.looks import looks
from rubout.report.page import render_search
from rubout.report.parallel import Layout
from rubout.report.pareto import charts, front
from rubout.report.search_view import curves, headline, parallel, shortened
from rubout.report.trials import is_search, read_search

from .conftest import MADE
from .search_folder import make_search, trial

LAYOUTS = [Layout.upright(4), Layout.stacked(4)]


@pytest.fixture
def search(tmp_path, rich_run):
    """Reads a search of some trials."""

    def search(*trials, **more):
        number = len(list(tmp_path.glob("search*")))
        path = make_search(tmp_path / f"search{number}", trials, rich_run(f"b{number}"), **more)
        return read_search(path)

    return search


def elements(svg, kind):
    return [one for one in ET.fromstring(svg).iter() if kind in one.get("class", "").split()]


def places(polyline):
    return [tuple(map(float, pair.split(","))) for pair in polyline.get("points", "").split()]


def oracle(number, quality, diversity, **more):
    figures = {"nll_validation": diversity, "nll_test": diversity, "nll_oracle": quality}
    return trial(number, figures=figures, **more)


@pytest.mark.parametrize(
    ("space", "value", "share"),
    [
        ("Uniform(low=0.0, high=0.5)", 0.125, 0.25),
        ("LogUniform(low=0.001, high=0.1)", 0.01, 0.5),
        ("LogUniform(low=0.001, high=0.1)", 0.001, 0.0),
        ("Integer(low=1, high=5)", 4, 0.75),
        ("Uniform(low=1, high=1000.0)", 10.0, 1 / 3),
        ("Uniform(low=1.0, high=100.0)", 50.5, 0.5),
        ("Uniform(low=-1.0, high=1000.0)", 499.5, 0.5),
        ("Choice(values=('a', 'b', 'c'))", "b", 0.5),
        ("Choice(values=(64, 128))", 64, 0.25),
        ("Choice(values=(None, True, False, 1))", False, 0.625),
        ("Uniform(low=0.0, high=0.5)", 1.0, 1.0),  # population-based training leaves its ends
        ("of another version", 7, 0.5),
        ("", "name", 0.5),
    ],
)
def test_a_value_is_where_its_axis_says(space, value, share):
    assert Axis.of([value], space).share(value) == pytest.approx(share, rel=1e-12)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=9))
def test_an_axis_holds_all_values_in_order_and_names_its_ends(values):
    axis = Axis.of(values)
    shares = [axis.share(value) for value in sorted(values)]
    assert all(-1e-9 <= share <= 1 + 1e-9 for share in shares)
    assert all(one <= other + 1e-12 for one, other in pairwise(shares))
    assert axis.is_log == (max(values) / min(values) > 100)
    assert [axis.ticks[0][0], axis.ticks[-1][0]] == pytest.approx([0, 1])


def test_ticks_of_a_log_axis_are_decades_and_of_whole_numbers_whole():
    assert Axis.of([1e-4], "LogUniform(low=1e-05, high=0.001)").ticks == [
        (0, "1e-5"),
        (pytest.approx(0.5), "0.0001"),
        (1, "0.001"),
    ]
    words = [words for _, words in Axis.of([3], "Integer(low=1, high=12)").ticks]
    assert words == ["1", "5", "10", "12"]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["upright", "stacked"])
def test_a_line_crosses_every_axis_at_its_value(search, layout):
    found = search(trial(0, 2.0), trial(1, 4.0), trial(2, 3.0))
    chart = parallel(found)
    svg = chart.svg("one", layout)
    lines = [places(one.find("{*}polyline")) for one in elements(svg, "trial")]
    third = (layout.last - layout.first) / 3
    shares = {"00001": [0.5, 0.5, 0.5, 1], "00002": [0.5] * 4, "00000": [0.5, 0.5, 0.5, 0]}
    expected = []
    for line in shares.values():  # from worse to better
        along = [layout.first + third * place for place in range(4)]
        across = [layout.low + share * (layout.high - layout.low) for share in line]
        pairs = zip(along, across, strict=True)
        expected.append(list(pairs) if layout.is_upright else [(y, x) for x, y in pairs])
    assert lines == [[pytest.approx(pair, abs=0.06) for pair in line] for line in expected]
    assert "lr (log)" in [one.text for one in elements(svg, "axis-name")]
    assert {"0.001", "0.1", "a", "b", "c", "0.5"} <= {one.text for one in elements(svg, "tick")}


def test_charts_say_what_they_are(search):
    svg = parallel(search(trial(0, 2.0), trial(1, 4.0))).svg("one", LAYOUTS[0])
    title, desc = list(ET.fromstring(svg))[:2]
    assert (title.tag[-5:], desc.tag[-4:]) == ("title", "desc")
    assert "lr (from 0.001 to 0.1, logarithmic); kind (a, b, c)" in desc.text
    assert "Best: trial 00000" in desc.text


def test_colours_go_by_rank_and_the_best_is_last(search):
    found = search(*(trial(number, metric) for number, metric in enumerate([3.0, 9e9, 1.0, 2.0])))
    drawn = looks(found)
    assert list(drawn) == ["00001", "00000", "00003", "00002"]
    assert [look.kind for look in drawn.values()] == ["rank-0", "rank-2", "rank-4", "rank-6 best"]
    assert [look.is_best for look in drawn.values()] == [False, False, False, True]


def test_the_greatest_is_best_where_the_mode_says_so(search):
    found = search(trial(0, 1.0), trial(1, 5.0), trial(2, 3.0), mode="max")
    assert [one.number for one in found.trials] == ["00001", "00002", "00000"]
    assert looks(found)["00001"].kind == "rank-6 best"
    assert "higher is better" in curves(found).title


def test_stopped_failed_and_missing_figures(search):
    found = search(
        trial(0, None, status="failed", error="ValueError: <b>no</b>\nsecond"),
        trial(1, 2.0, status="stopped"),
        trial(2, 1.0),
        trial(3, math.inf),
        trial(4, status="unfinished", sample={"learner.lr": 0.1}),
    )
    assert [one.number for one in found.trials] == ["00002", "00001", "00000", "00003", "00004"]
    kinds = {number: look.kind for number, look in looks(found).items()}
    assert kinds["00001"] == "rank-0 stopped"
    assert kinds["00000"] == kinds["00003"] == "reference unranked"
    lines = elements(parallel(found).svg("one", LAYOUTS[0]), "trial")
    sizes = [len(places(line.find("{*}polyline"))) for line in lines]
    assert sizes == [2, 3, 3, 4, 4]  # a dot, and lines that end before the metric
    page = render_search(found, MADE)
    assert "Trial 00000 failed: ValueError: &lt;b&gt;no&lt;/b&gt; second" in page
    assert "No NLL validation: 00003, 00004." in page
    assert "5 trials: 2 whole, 1 stopped early, 1 failed, 1 unfinished." in page


def test_a_line_is_broken_where_a_trial_has_no_value(search):
    sample = {"learner.lr": 0.01, "policy.dropout": 0.5}
    found = search(trial(0, 1.0), trial(1, 2.0, sample=sample))
    worse, best = elements(parallel(found).svg("one", LAYOUTS[0]), "trial")
    assert [len(places(line)) for line in worse.iter() if line.get("points")] == [2, 2]
    assert [len(places(line)) for line in best.iter() if line.get("points")] == [4]


def test_dominated_trials_are_not_on_the_front():
    given = {"a": (1, 5), "b": (2, 3), "c": (4, 1), "d": (2, 4), "e": (5, 5), "f": (4, 1)}
    assert front(given) == ["a", "b", "c", "f"]
    assert front({"only": (1, 1)}) == ["only"]


@given(st.dictionaries(st.integers(), st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_a_front_dominates_all_else_and_nothing_of_itself(given_places):
    on = front(given_places)

    def beats(one, other):
        return one != other and one[0] <= other[0] and one[1] <= other[1]

    found = [given_places[name] for name in on]
    assert on
    assert not any(beats(one, other) for one in found for other in found)
    rest = [place for name, place in given_places.items() if name not in on]
    assert all(any(beats(one, other) for one in found) for other in rest)


def test_the_front_is_joined_and_numbered(search):
    found = search(
        oracle(0, 1, 5), oracle(1, 2, 3), oracle(2, 5, 1), oracle(3, 4, 4), trial(4, 9.0)
    )
    [chart] = charts(found)
    svg = chart.svg("one")
    across, up = chart.scales()
    [line] = elements(svg, "front")
    expected = [(across(x), up(y)) for x, y in ((1, 5), (2, 3), (5, 1))]
    assert places(line) == [pytest.approx(pair, abs=0.06) for pair in expected]
    assert {one.text for one in elements(svg, "label")} == {"00000", "00001", "00002"}
    dots = elements(svg, "dot")
    assert len(dots) == 4
    [best] = [dot for dot in dots if "best" in dot.get("class").split()]
    assert (best.get("cx"), best.get("cy")) == tuple(f"{one:.1f}" for one in expected[2])
    assert "00002 at 5, 1" in chart.said


def test_a_crowded_front_is_drawn_again(search):
    found = search(oracle(0, 1.0, 2.0), oracle(1, 1.1, 1.0), oracle(2, 9.0, 9.0))
    whole, near = charts(found)
    assert (len(whole.dots), len(near.dots)) == (3, 2)
    assert not any(dot.label for dot in whole.dots)
    assert [dot.label for dot in near.dots] == ["00000", "00001"]


def test_without_an_oracle_there_is_no_front(search):
    found = search(trial(0, 1.0), trial(1, 2.0))
    assert charts(found) == []
    assert "No trial has both NLL oracle and NLL test" in render_search(found, MADE)


def test_learning_curves_of_all_trials(search):
    chart = curves(search(trial(0, 2.0), trial(1, 1.0), trial(2, None, status="failed")))
    assert [list(one.points) for one in chart.curves] == [
        [(2, 2.0), (4, 2.5)],
        [(2, 1.0), (4, 1.5)],
    ]
    assert [one.look.is_best for one in chart.curves] == [False, True]
    assert [dot.place for dot in chart.dots] == [(2, 2.0), (2, 1.0)]


def test_a_page_of_a_search_shows_trials_and_the_best_run(search):
    found = search(trial(0, 2.0), trial(1, 1.25, status="stopped"))
    page = render_search(found, MADE, "rubout train --out RUN --learner x")
    assert headline(found) in page
    assert headline(found) == (
        "Trial 00001 is the best of 2: NLL validation 1.250 at update 2, "
        "with lr 0.01, kind b, dropout 0.25."
    )
    assert "psi_mle: a search over 3 options" in page
    headings = re.findall(r"<h2 id=.*?>(.*?)</h2>", page)
    assert headings == [
        "What was drawn, and what came of it",
        "Trials",
        "Quality and diversity",
        "Learning curves",
        "The best run",
        "Samples as typed",
        "Options",
        "Where it ran",
    ]
    rows = re.findall(r"</svg>(\d{5})</span>", page)
    assert rows == ["00001", "00000"]
    assert "rubout train --out RUN --learner x" in page
    links = set(re.findall(r'href="#(.*?)"', page))
    assert links == set(re.findall(r'<h2 id="(.*?)"', page))
    assert len(re.findall(r' id="', page)) == len(set(re.findall(r' id="(.*?)"', page)))


def test_a_search_in_which_all_failed_is_shown_for_what_it_is(search):
    found = search(trial(0, None, status="failed", error="ValueError: no"))
    page = render_search(found, MADE)
    assert "No trial has a figure: there is no best one." in page
    assert "Trial 00000 failed: ValueError: no" in page
    assert "The best run" not in page
    assert "Samples as typed" not in page
    assert set(re.findall(r'href="#(.*?)"', page)) == set(re.findall(r'<h2 id="(.*?)"', page))


def test_nothing_of_a_search_is_markup(search):
    nasty = "<script>alert(1)</script>&\"'"
    space = {nasty: f"Choice(values=({nasty!r}, 'b'))"}
    found = search(
        trial(0, 1.0, sample={nasty: nasty}), trial(1, 2.0, sample={nasty: "b"}), space=space
    )
    page = render_search(found, MADE)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    for layout in (Layout.upright(2), Layout.stacked(2)):
        words = [one.text for one in elements(parallel(found).svg("one", layout), "tick")]
        assert "b" in words


def test_names_are_short_where_they_stay_apart():
    assert shortened(["learner.lr", "policy.lr", "policy.hidden"]) == [
        "learner.lr",
        "policy.lr",
        "hidden",
    ]


@pytest.mark.parametrize(
    "content",
    [
        None,
        "{",
        "[]",
        "{}",
        '{"metric": "m", "mode": "min", "best": "00009", "trials": []}',
        '{"metric": "m", "mode": "min", "best": null, "trials": [3]}',
        json.dumps(
            {"metric": "m", "mode": "min", "best": None, "trials": [trial(0, status="odd")]}
        ),
        json.dumps(
            {"metric": "m", "mode": "min", "best": None, "trials": [trial(0) | {"number": "../x"}]}
        ),
    ],
)
def test_results_that_cannot_be_read_say_what_to_type(search, content):
    path = search(trial(0, 1.0)).path
    if content is None:
        (path / "results.json").unlink()
    else:
        (path / "results.json").write_text(content)
    command = f"rubout tune tune_configs/psi_mle.py --out {path} --num-samples 8 --seed 3 --resume"
    with pytest.raises(UserError, match=re.escape(command)) as error:
        read_search(path)
    assert "results.json" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, "{", "{}", '{"search": "x", "space": {}}'])
def test_a_search_needs_its_search_json(search, content):
    path = search(trial(0, 1.0)).path
    (path / "search.json").unlink()
    if content is not None:
        (path / "search.json").write_text(content)
    assert is_search(path)
    with pytest.raises(UserError, match=r"search\.json"):
        read_search(path)


def test_a_run_is_no_search(rich_run):
    assert not is_search(rich_run("one"))
