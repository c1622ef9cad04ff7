"""The page as text: all of it, in order, and nothing in it that a run could make markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from rubout.errors import UserError
from rubout.evaluation.estimate import over_seeds
from rubout.report.groups import comparisons
from rubout.report.material import read_run
from rubout.report.page import write
from rubout.report.settings import differing, flat, words
from rubout.report.view import TaskView, listed, options_of
from rubout.training.config import TrainConfig

from .conftest import BACK, EOS, figure

NASTY = ["<script>alert(1)</script>", "&amp;", "\"'`", "שלום עולם", "🦊", "{{7*7}}", "</style>"]
VOID = {"meta", "link", "br"}


class Tree(HTMLParser):
    """Tags, and whether they are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []  # the innermost tag, and what is in it
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_a_page_is_well_formed_and_says_everything_in_order(page, rich_run):
    text = page(rich_run("one"), rich_run("two", learner="mle"))
    tree = Tree(text)
    assert tree.open == []
    assert [tag for tag, _ in tree.tags if tag in ("h1", "h2")] == ["h1", *["h2"] * 6]
    headings = [words for tag, words in tree.texts if tag == "h2"]
    assert headings == [
        "Results",
        "Learning curves",
        "Quality and diversity",
        "Samples as typed",
        "Options",
        "Where it ran",
    ]
    assert "sequence_match and mle on oracle" in text
    assert 'datetime="2026-03-14T15:09:00+00:00">2026-03-14 15:09 UTC' in text


def test_headings_are_in_order_and_links_lead_somewhere(page, rich_run, make_run):
    text = page(rich_run(), make_run("other", task="python-docs"))
    tree = Tree(text)
    levels = [int(tag[1]) for tag, _ in tree.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    identifiers = [attributes["id"] for _, attributes in tree.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    targets = [link["href"].removeprefix("#") for link in tree.named("a")]
    assert len(targets) == 6
    assert set(targets) <= set(identifiers)
    for chart in tree.named("svg"):
        if chart.get("role") == "img":
            assert set(chart["aria-labelledby"].split()) <= set(identifiers)


def test_the_same_runs_and_date_give_the_same_page(page, rich_run):
    one, two = rich_run("one"), rich_run("two", learner="mle")
    assert page(one, two) == page(one, two)


def test_numbers_are_those_of_the_files_to_the_last_digit(page, make_run):
    values = [1.2345678901234567, 2.3456789012345678, 3.4567890123456789]
    paths = [
        make_run(f"run{seed}", seed=seed, rows={"model": {"nll_test": figure(value)}})
        for seed, value in enumerate(values)
    ]
    shown = [float(data["value"]) for data in Tree(page(*paths)).named("data")]
    assert shown == [over_seeds(values).mean]
    alone = [float(data["value"]) for data in Tree(page(paths[0])).named("data")]
    assert alone == [values[0]]


def test_every_table_says_what_its_rows_and_columns_are(page, rich_run):
    tree = Tree(page(rich_run("one"), rich_run("two", learner="mle")))
    assert all(cell.get("scope") in ("row", "col") for cell in tree.named("th"))
    regions = [item for item in tree.named("div") if item.get("class") == "scroll"]
    assert len(regions) == len(tree.named("table"))
    assert all(item.get("tabindex") == "0" and item.get("aria-label") for item in regions)


@pytest.mark.parametrize("nasty", NASTY)
def test_nothing_a_run_holds_becomes_markup(page, make_run, nasty):
    rows = {"model": {nasty: figure(1.0)}, nasty: {nasty: figure(2.0)}}
    path = make_run(
        "run",
        rows=rows,
        words=["a", nasty.replace(" ", "")],
        samples=[{"text": f"a {nasty.replace(' ', '')}", "actions": [0, 1, BACK - 3]}],
        metrics=[{"update": 1, "kind": "evaluation", nasty: 2.0}],
        sweep={
            "quality": nasty,
            "diversity": nasty,
            "rows": [
                {
                    "name": nasty,
                    "points": [{"multiplier": 1.0, nasty: figure(1.0)}],
                    "summary": {nasty: 1.0},
                }
            ],
        },
        learner=nasty,
        policy=nasty,
        task_options={nasty: nasty},
        address=nasty,
    )
    text = page(path)
    tree = Tree(text)
    plain = Tree(page(make_run("plain", rows={"model": {"nll_test": figure(1.0)}})))
    assert tree.open == []
    assert len(tree.named("script")) == len(plain.named("script")) == 1
    assert len(tree.named("style")) == 1
    kinds = {tag for tag, _ in tree.tags}
    assert kinds <= {tag for tag, _ in plain.tags} | {"data", "g"} | SVG | {"ul", "li", "button"}
    assert not [key for _, attributes in tree.tags for key in attributes if key.startswith("on")]
    assert nasty in "".join(words for _, words in tree.texts)


SVG = {"svg", "path", "title", "desc", "line", "text", "polyline", "clippath", "rect", "circle"}


def test_text_of_every_script_turns_to_the_side_it_is_read_from(page, make_run):
    path = make_run(samples=[{"text": "a cat", "actions": [0, 1, EOS]}])
    [typed] = [item for item in Tree(page(path)).named("p") if item.get("class") == "typed"]
    assert typed["dir"] == "auto"


def test_half_a_character_is_written_all_the_same(page, make_run, tmp_path):
    path = make_run(address="\ud83e")
    out = tmp_path / "report.html"
    write(out, page(path))
    assert "?" in out.read_text(encoding="utf-8")


def test_the_page_asks_for_nothing_but_itself(page, rich_run):
    text = page(rich_run())
    tree = Tree(text)
    policy = next(item for item in tree.named("meta") if "http-equiv" in item)["content"]
    assert policy.startswith("default-src 'none'")
    assert [item for item in tree.named("link") if item["href"] != "data:,"] == []
    assert not re.search(r"(src|href)=\"(?!#|data:,)", text)
    assert not re.search(r"url\((?!#)", text)


def test_what_was_rubbed_out_is_struck_and_can_be_played(page, rich_run):
    text = page(rich_run())
    assert "a<s> cat</s> dog sits" in text
    [first, second] = [item for item in Tree(text).named("li") if "data-keys" in item]
    assert json.loads(first["data-keys"]) == ["a", " cat", None, " dog", " sits"]
    assert json.loads(second["data-keys"]) == ["a", " cat"]
    assert "6 keys, 1 backspace among them" in text


def test_what_a_run_lacks_is_said(page, make_run):
    text = re.sub(r"\s+", " ", page(make_run()))
    for missing in (
        "No run has figures yet.",
        "mle, seed 0, has no evaluation.json",
        "mle, seed 0, has no metrics.jsonl",
        "Without sweep.json (rubout evaluate RUN --sweep makes it): every run.",
        "There are no samples in the folder of mle.",
    ):
        assert missing in text, missing


def test_infinite_metrics_are_left_out_and_said(page, make_run):
    metrics = [
        {"update": 1, "kind": "train", "loss": 2.0},
        {"update": 2, "kind": "train", "loss": float("nan")},
        {"update": 3, "kind": "train", "loss": float("inf")},
        {"update": 4, "kind": "train", "loss": 1.0},
    ]
    text = page(make_run(metrics=metrics))
    assert "loss: 2 values are not finite and are not drawn." in text
    assert "mle: from 2 at 1 to 1 at 4." in text
    assert "nan" not in "".join(re.findall(r'points="([^"]+)"', text))


def test_curves_are_means_over_seeds_with_bands(make_run):
    paths = [
        make_run(
            f"run{seed}",
            seed=seed,
            metrics=[
                {"update": update, "kind": "evaluation", "nll_test": value}
                for update, value in enumerate(values)
            ],
        )
        for seed, values in enumerate([[4.0, 3.0, 2.0], [5.0, 3.5, 2.5, 1.5, 1.0]])
    ]
    [comparison] = comparisons([read_run(path) for path in paths])
    [panel] = TaskView.of(comparison, None).curves.panels
    line = panel.drawn["mle"]
    assert line.points == [(0, 4.5), (1, 3.25), (2, 2.25)]
    half = over_seeds([4.0, 5.0]).half
    assert line.band[0] == (0, pytest.approx(4.5 - half), pytest.approx(4.5 + half))
    assert line.thin == [[(2, 2.5), (3, 1.5), (4, 1.0)]]


def test_a_long_curve_is_thinned_to_its_end(make_run):
    metrics = [{"update": update, "kind": "train", "loss": 1.0} for update in range(1, 2001)]
    [comparison] = comparisons([read_run(make_run(metrics=metrics))])
    points = TaskView.of(comparison, None).curves.panels[0].drawn["mle"].points
    assert 100 < len(points) <= 150
    assert points[-1] == (2000, 1.0)


def test_a_front_has_a_curve_a_learner_and_a_ring_at_equal_temperature(rich_run):
    runs = [read_run(rich_run(f"run{seed}", seed=seed)) for seed in (0, 1)]
    [comparison] = comparisons(runs)
    [front] = TaskView.of(comparison, None).fronts.fronts
    line = front.panel.drawn["sequence_match"]
    assert line.points == [
        pytest.approx(pair) for pair in [(4.505, 4.505), (5.005, 4.005), (6.005, 3.005)]
    ]
    assert line.rings == [pytest.approx((5.005, 4.005))]
    assert len(line.thin) == 2
    assert front.panel.drawn["oracle"].style is None
    assert front.panel.across == "quality: NLL oracle (lower is better)"
    assert front.panel.title == "diversity: NLL test (lower is better)"
    assert front.columns == ("best NLL oracle", "area")
    [ours, theirs] = front.rows
    assert (ours[2][0].value.mean, ours[2][0].at) == (pytest.approx(4.505), "2.00")
    assert theirs[2][0] is None


def test_a_front_of_text_says_which_way_is_better(make_run):
    points = [{"multiplier": 1.0, "bleu-5": figure(0.3), "self-bleu-5": figure(0.6)}]
    sweep = {"quality": "bleu-5", "diversity": "self-bleu-5"}
    rows = [{"name": "model", "points": points, "summary": {}}]
    [comparison] = comparisons([read_run(make_run(sweep={**sweep, "rows": rows}))])
    [front] = TaskView.of(comparison, None).fronts.fronts
    assert front.panel.across == "quality: BLEU-5 (higher is better)"
    assert front.panel.title == "diversity: Self-BLEU-5 (lower is better)"


def test_options_that_differ_come_first(make_run):
    runs = [
        read_run(make_run("one", learner="mle", learner_options={"lr": 0.1, "own": 1})),
        read_run(make_run("two", learner="cot", seed=1, learner_options={"lr": 0.2})),
    ]
    [comparison] = comparisons(runs)
    options = options_of(comparison.groups)
    assert options.differing == (("learner", ("mle", "cot")), ("learner.lr", ("0.1", "0.2")))
    assert options.own == (("learner.own", ("1", "\N{EN DASH}")),)
    assert ("env.backspace", "yes") in options.shared
    assert "seed" not in dict(options.shared)


def test_options_are_flat_and_compared():
    one = flat(TrainConfig(learner_options={"noise": {"rate": 0.1}}))
    other = flat(TrainConfig(learner_options={"noise": {"rate": 0.2}}, batch_size=8))
    assert one["learner.noise.rate"] == 0.1
    assert differing(one, other) == ["batch-size", "learner.noise.rate"]


def test_a_command_has_what_is_no_default():
    config = TrainConfig(
        learner="mle", task="oracle", updates=7, learner_options={"lr": 0.5, "clip": 5.0}
    )
    found = words(config)
    assert found[found.index("--updates") + 1] == "7"
    assert found[found.index("--learner.lr") + 1] == "0.5"
    assert "--learner.clip" not in found
    assert "--seed" not in found


def test_names_are_listed():
    assert listed(["a"], 3) == "a"
    assert listed(["a", "b", "c"], 3) == "a, b and c"
    assert listed(["a", "b", "c", "d"], 3) == "a, b and 2 more"


def test_thirty_groups_stay_small(page, make_run):
    metrics = [
        {"update": update, "kind": kind, "loss": 1.0, "nll_test": 1.0, "nll_validation": 1.0}
        for update in range(600)
        for kind in ("train", "evaluation")
    ]
    samples = [{"text": "a cat", "actions": [0, *[1, BACK] * 150, 1, EOS]}] * 20
    paths = [
        make_run(
            f"run{number}",
            seed=number,
            batch_size=number + 1,
            metrics=metrics,
            samples=samples,
        )
        for number in range(30)
    ]
    text = page(*paths)
    assert len(text.encode()) < 2_000_000
    assert text.count("data-keys=") == 2 * 30


def test_a_page_that_cannot_be_written_leaves_nothing(tmp_path: Path):
    with pytest.raises(UserError, match=r"--out /proc/none/report\.html cannot be written"):
        write(Path("/proc/none/report.html"), "page")


def test_a_page_replaces_another_whole(tmp_path: Path):
    out = tmp_path / "new" / "report.html"
    assert write(out, "one") == 3
    assert write(out, "zwö") == 4
    assert out.read_text(encoding="utf-8") == "zwö"
    assert list(out.parent.iterdir()) == [out]
