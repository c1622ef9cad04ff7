"""Numbers of the tables against those of the files, and the sentence against its intervals."""

from __future__ import annotations

import math

import pytest

from rubout.evaluation.estimate import over_seeds
from rubout.report.documents import Evaluation, Figure
from rubout.report.groups import comparisons
from rubout.report.material import read_run
from rubout.report.results import differences, missing, tables
from rubout.report.values import Value, number, over_runs
from rubout.report.verdict import headline

from .conftest import evaluation, figure


def table_of(runs, part: str = "Figures"):
    [comparison] = comparisons(runs)
    return tables(comparison)[part]


def test_a_group_has_the_mean_and_interval_over_its_seeds(seeds):
    values = [1.0, 1.5, 4.0]
    value = table_of(seeds("mle", values)).value("mle", "nll_test")
    over = over_seeds(values)
    assert over.half is not None
    assert (value.mean, value.seeds) == (over.mean, 3)
    assert value.low == pytest.approx(over.mean - over.half, rel=1e-12)
    assert value.high == pytest.approx(over.mean + over.half, rel=1e-12)
    assert (value.text, value.interval) == ("2.167", f"±\N{NO-BREAK SPACE}{over.half:.3f}")


def test_a_single_run_has_the_interval_of_its_file(seeds):
    value = table_of(seeds("mle", [1.2342])).value("mle", "nll_test")
    assert (value.mean, value.low, value.high) == (1.2342, 1.2342 - 0.1, 1.2342 + 0.1)
    assert value.interval == "[1.134,\N{NO-BREAK SPACE}1.334]"


def test_an_older_file_without_intervals_has_its_standard_errors():
    old = {"mean": 2.0, "standard_error": 0.5, "count": 3}
    assert Figure.read(old) == Figure(2.0, 2.0 - 0.98, 2.0 + 0.98)
    assert Figure.read({"mean": 2.0, "standard_error": None, "count": 1}) == Figure(2.0)
    assert Value(2.0, None, None, 1).interval == ""


def test_rows_are_groups_then_baselines_then_references(make_run):
    rows = {
        name: {"nll_test": figure(value)}
        for name, value in [
            ("unigram", 3.0),
            ("model", 1.0),
            ("oracle", 0.5),
            ("mle (runs/x)", 2.0),
        ]
    }
    table = table_of([read_run(make_run(rows=rows, learner="cot"))])
    assert [(row.label, row.kind) for row in table.rows] == [
        ("cot", "group"),
        ("mle (runs/x)", "baseline"),
        ("oracle", "reference"),
        ("unigram", "reference"),
    ]


def test_backspaces_and_samples_have_tables_of_their_own(make_run):
    own = {name: figure(0.5) for name in ("nll_test", "backspace_rate", "bleu-5", "mine")}
    rows = {"model": own, "unigram": {"nll_test": figure(3.0)}}
    [comparison] = comparisons([read_run(make_run(rows=rows))])
    found = {part: table.names for part, table in tables(comparison).items()}
    assert found == {
        "Figures": ("nll_test", "mine"),
        "Figures of the backspace": ("backspace_rate",),
        "Figures of samples": ("bleu-5",),
    }
    assert len(tables(comparison)["Figures of the backspace"].rows) == 1


def test_the_best_mean_is_marked_on_the_better_side_only(make_run):
    figures = {"nll_test": (1.0, 2.0), "exact_match": (0.1, 0.2), "entropy": (1.0, 2.0)}
    runs = [
        read_run(
            make_run(
                name,
                learner=name,
                rows={"model": {key: figure(pair[place]) for key, pair in figures.items()}},
            )
        )
        for place, name in enumerate(("cot", "mle"))
    ]
    table = table_of(runs)
    assert [[value.best for value in row.values] for row in table.rows] == [
        [True, False, False],
        [False, True, False],
    ]


def test_differences_are_paired_by_seed(seeds):
    runs = [*seeds("mle", [1.0, 2.0, 3.0]), *seeds("cot", [1.5, 2.4])]
    [comparison] = comparisons(runs)
    table = differences(comparison, comparison.baseline(None))
    value = table.value("cot", "nll_test")
    over = over_seeds([0.5, 2.4 - 2.0])
    assert value.seeds == 2
    assert value.mean == pytest.approx(over.mean)
    assert value.high - value.low == pytest.approx(2 * over.half)


def test_without_two_seeds_in_common_nothing_is_paired(seeds):
    [comparison] = comparisons([*seeds("mle", [1.0, 2.0]), *seeds("cot", [1.0])])
    assert differences(comparison, comparison.baseline(None)) is None


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(-2.0, -1.0, "lower"), (1.0, 2.0, "higher"), (-1.0, 2.0, "undecided")],
)
def test_a_difference_says_no_more_than_its_interval(low, high, verdict):
    assert Value((low + high) / 2, low, high, 3).verdict == verdict


def test_the_sentence_names_the_lowest_where_the_interval_leaves_0_out(seeds):
    [comparison] = comparisons([*seeds("mle", [3.0, 3.1, 3.2]), *seeds("cot", [1.0, 1.1, 1.2])])
    sentence = headline(comparison)
    assert sentence.startswith("cot has the lowest NLL test: 1.100")
    assert "next is mle, 3.200" not in sentence
    assert "next is mle, 3.100" in sentence
    assert "not beyond chance" not in sentence


def test_the_sentence_admits_chance(seeds):
    [comparison] = comparisons([*seeds("mle", [1.0, 3.0, 2.0]), *seeds("cot", [2.9, 1.0, 2.0])])
    assert "on average, but not beyond chance" in headline(comparison)


def test_the_sentence_says_nothing_of_chance_with_single_runs(seeds):
    [comparison] = comparisons([*seeds("mle", [1.0]), *seeds("cot", [2.0])])
    assert headline(comparison) == (
        "mle has the lowest NLL test: 1.000\N{NO-BREAK SPACE}[0.900,\N{NO-BREAK SPACE}1.100]; "
        "next is cot, 2.000\N{NO-BREAK SPACE}[1.900,\N{NO-BREAK SPACE}2.100]. "
        "Without two seeds in common, nothing is said of chance."
    )


def test_one_group_stands_beside_its_references(make_run):
    rows = {name: {"nll_test": figure(1.0)} for name in ("model", "oracle", "uniform")}
    [comparison] = comparisons([read_run(make_run(rows=rows))])
    sentence = headline(comparison)
    assert sentence.endswith("(references: oracle 1.000).")


def test_a_run_without_figures_is_said_to_be_missing(make_run):
    runs = [
        read_run(make_run("one", seed=0, rows={"model": {"nll_test": figure(1.0)}})),
        read_run(make_run("two", seed=1, metrics=[{"update": 3, "kind": "train", "loss": 1.0}])),
    ]
    [comparison] = comparisons(runs)
    assert missing(comparison) == [
        "mle, seed 1, has no evaluation.json: it stands at update 3 of 4."
    ]
    assert tables(comparison)["Figures"].value("mle", "nll_test").seeds == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_said_and_not_averaged(seeds, bad):
    runs = seeds("mle", [1.0, bad])
    [comparison] = comparisons(runs)
    value = tables(comparison)["Figures"].value("mle", "nll_test")
    assert (value.text, value.interval) == ("not finite", "")
    assert missing(comparison) == ["NLL test of mle, seed 1, is not finite."]
    assert headline(comparison) is None


def test_numbers_have_a_real_minus_and_no_negative_zero():
    assert number(-1.25, 1) == "\N{MINUS SIGN}1.2"
    assert number(-0.0001, 2) == "0.00"
    assert number(12345.6, 1) == "12,345.6"


def test_over_one_run_there_is_no_interval():
    assert over_runs([2.0]) == Value(2.0, None, None, 1)


def test_rows_are_read_by_name_and_only_what_has_a_mean_is_a_figure():
    read = Evaluation.read(evaluation({"model": {"nll_test": figure(1.0), "note": "x"}}))
    assert list(read.rows["model"]) == ["nll_test"]
