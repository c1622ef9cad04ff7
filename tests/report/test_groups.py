"""Which runs belong together, and what they are called."""

from __future__ import annotations

import pytest

from rubout.errors import UserError
from rubout.report.groups import comparisons
from rubout.report.material import read_run


def labels(found) -> list[list[tuple[str, tuple[int, ...]]]]:
    return [[(group.label, group.seeds) for group in one.groups] for one in found]


def test_runs_that_differ_only_in_seed_are_one_group(seeds):
    runs = [*seeds("cot", [1.0, 2.0]), *seeds("mle", [1.0, 2.0, 3.0])[::-1]]
    assert labels(comparisons(runs)) == [[("cot", (0, 1)), ("mle", (0, 1, 2))]]


def test_how_a_run_is_carried_out_makes_no_other_group(make_run):
    paths = [
        make_run("one", seed=0, rollout_workers=2, keep=1),
        make_run("two", seed=1, log_every=3),
    ]
    assert labels(comparisons([read_run(path) for path in paths])) == [[("mle", (0, 1))]]


def test_a_run_that_begins_with_its_own_seed_belongs_to_the_others(make_run, tmp_path):
    paths = [
        make_run(f"run{seed}", seed=seed, init=tmp_path / f"mle-seed{seed}") for seed in (0, 1)
    ]
    paths.append(make_run("other", seed=2, init=tmp_path / "elsewhere-seed2"))
    [[one, other]] = labels(comparisons([read_run(path) for path in paths]))
    assert (one[1], other[1]) == ((0, 1), (2,))


def test_the_same_seed_twice_is_two_groups_named_by_folder(make_run):
    runs = [read_run(make_run(name, seed=3)) for name in ("first-seed3", "second-seed3")]
    assert labels(comparisons(runs)) == [[("mle (first)", (3,)), ("mle (second)", (3,))]]


def test_equal_folder_names_are_told_apart_by_the_folder_above(make_run):
    runs = [read_run(make_run(name, seed=3)) for name in ("a/run", "b/run")]
    assert labels(comparisons(runs)) == [[("mle (a/run)", (3,)), ("mle (b/run)", (3,))]]


def test_an_option_that_differs_is_in_the_name(make_run):
    options = [{"lr": 0.01}, {"lr": 0.1}]
    runs = [
        read_run(make_run(f"run{place}", learner_options=one)) for place, one in enumerate(options)
    ]
    assert labels(comparisons(runs)) == [
        [("mle, learner.lr 0.01", (0,)), ("mle, learner.lr 0.1", (0,))]
    ]


def test_tasks_are_apart_and_a_file_is_called_by_its_name(make_run):
    paths = [
        make_run("one"),
        make_run("two", task="text", task_options={"path": "/data/captions.txt"}),
    ]
    found = comparisons([read_run(path) for path in paths])
    assert [one.title for one in found] == ["oracle", "text captions.txt"]
    assert labels(found) == [[("mle", (0,))], [("mle", (0,))]]


def test_tasks_of_one_name_are_told_apart_by_their_options(make_run):
    paths = [make_run(f"run{size}", task_options={"hidden": size}) for size in (32, 64)]
    titles = [one.title for one in comparisons([read_run(path) for path in paths])]
    assert titles == ["oracle (task.hidden 32)", "oracle (task.hidden 64)"]


def test_styles_are_places_among_the_groups_of_a_task(seeds, make_run):
    runs = [*seeds("mle", [1.0]), *seeds("cot", [1.0]), read_run(make_run("x", task="python-docs"))]
    assert [[group.style for group in one.groups] for one in comparisons(runs)] == [[0, 1], [0]]


def test_the_baseline_is_mle_or_the_first_or_what_is_asked_for(seeds):
    [found] = comparisons([*seeds("cot", [1.0, 2.0]), *seeds("mle", [1.0, 2.0])])
    [without] = comparisons(seeds("rankgan", [1.0, 2.0]))
    names = [
        found.baseline(None),
        without.baseline(None),
        found.baseline("cot"),
        found.baseline(str(found.groups[0].runs[1].path)),
    ]
    assert [group and group.label for group in names] == ["mle", "rankgan", "cot", "cot"]


def test_a_baseline_that_is_not_there_is_refused(seeds):
    with pytest.raises(UserError, match=r"--baseline seqgan.*known: cot, mle"):
        comparisons([*seeds("cot", [1.0]), *seeds("mle", [1.0])], "seqgan")


def test_a_run_given_twice_is_refused(seeds):
    [run] = seeds("mle", [1.0])
    with pytest.raises(UserError, match="given twice"):
        comparisons([run, run])
