"""`rubout report`: a page of real runs, and one line for what is wrong."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from rubout.cli.report import command
from rubout.cli.train import read_options
from rubout.training.run_folder import RunFolder


@pytest.fixture
def refused(rubout, tmp_path):
    """Makes a report that must fail; gives the line without its beginning."""

    def refused(*words: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        ended = rubout("report", *words)
        assert ended.code == 2, ended
        assert ended.out == ""
        assert ended.err.count("\n") == 1, ended.err
        assert sorted(tmp_path.rglob("*")) == before, "something was written"
        return ended.err.removeprefix("rubout report: error: ").strip()

    return refused


def test_a_report_of_a_real_run(rubout, trained, tmp_path):
    out = tmp_path / "report.html"
    ray = "ray" in sys.modules
    ended = rubout("report", trained, "--out", out)
    assert ended.code == 0, ended.err
    first, second = ended.out.splitlines()
    assert re.fullmatch(rf"{re.escape(str(out))}: \d+ kB", first)
    assert second == f"open it in any browser: {out.as_uri()}"
    assert ("ray" in sys.modules) == ray, "ray was imported"
    page = out.read_text(encoding="utf-8")
    rows = json.loads((trained / "evaluation.json").read_text())["rows"]
    for row in rows:
        assert f'<data value="{row["nll_test"]["mean"]}">' in page
    assert "mle on text" in page
    assert "rubout train --out RUN --learner mle" in page


def test_the_command_on_the_page_trains_the_same(trained):
    config = RunFolder.existing(trained).config()
    line = command(config)
    assert line is not None
    words = shlex.split(line)
    assert words[:2] == ["rubout", "train"]
    assert read_options(words[2:])[1] == config


@pytest.mark.parametrize(
    "change",
    [
        {"learner_options": {"of another version": 1}},
        {"learner": "no_such_learner"},
        {"address": "None"},  # a command line would take it for no address
    ],
)
def test_a_run_that_no_command_gives_has_none(trained, change):
    config = RunFolder.existing(trained).config()
    assert command(dataclasses.replace(config, **change)) is None


def test_a_report_replaces_an_older_one(rubout, trained, tmp_path):
    out = tmp_path / "report.html"
    out.write_text("old")
    assert rubout("report", trained, "--out", out).code == 0
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir() if path.suffix] == ["report.html"]


def test_a_run_without_results_is_shown_for_what_it_has(rubout, run, tmp_path):
    (run / "evaluation.json").unlink()
    (run / "metrics.jsonl").unlink()
    shutil.rmtree(run / "samples")
    shutil.rmtree(run / "checkpoints")
    assert rubout("report", run, "--out", tmp_path / "report.html").code == 0
    assert "has no evaluation.json" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def search(trained, tmp_path) -> Path:
    """A search of one trial, the finished run."""
    out = tmp_path / "a search"
    figures = {"nll_validation": 2.5, "nll_test": 2.75}
    entry = {"number": "00000", "status": "whole", "sample": {"learner.lr": 0.01}, "update": 6}
    entry |= {"updates": 6, "figures": figures, "error": ""}
    shutil.copytree(trained, out / "trials" / "00000")
    shutil.copytree(trained, out / "best")
    asked = {"search": "s.py", "num_samples": 1, "seed": 0, "base": {}, "scheduler": "None"}
    asked |= {"space": {"learner.lr": "LogUniform(low=0.001, high=0.1)"}, "searcher": "random"}
    asked |= {"metric": "nll_validation", "mode": "min"}
    (out / "search.json").write_text(json.dumps(asked))
    results = {"metric": "nll_validation", "mode": "min", "best": "00000", "trials": [entry]}
    (out / "results.json").write_text(json.dumps(results))
    return out


def test_a_report_of_a_search_shows_its_best_run(rubout, search, tmp_path):
    ended = rubout("report", search, "--out", tmp_path / "report.html")
    assert ended.code == 0, ended.err
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Trial 00000 is the best of 1: NLL validation 2.500" in page
    assert "rubout train --out RUN --learner mle" in page


def test_a_search_is_shown_alone(refused, search, trained, tmp_path):
    out = ("--out", tmp_path / "report.html")
    for words in ((search, trained), (trained, search), (search, search)):
        assert "shown alone" in refused(*words, *out)
    assert refused(search, *out, "--baseline", "mle").startswith("--baseline is for RUNs")


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_an_interrupted_search_says_what_to_type(refused, search, tmp_path, content):
    (search / "results.json").unlink()
    if content is not None:
        (search / "results.json").write_text(content)
    line = refused(search, "--out", tmp_path / "report.html")
    assert line.endswith(
        f"rubout tune s.py --out {shlex.quote(str(search))} --num-samples 1 --seed 0 --resume"
    )


def test_the_best_run_of_a_search_must_be_there(refused, search, tmp_path):
    shutil.rmtree(search / "best")
    line = refused(search, "--out", tmp_path / "report.html")
    assert "is missing" in line
    assert line.endswith("--resume")


def test_the_help_names_the_file(rubout):
    assert "--out" in rubout("report", "--help").out


def test_there_must_be_a_run(refused, tmp_path):
    assert refused("--out", tmp_path / "report.html") == "give at least one RUN"


def test_a_folder_must_hold_a_run(refused, tmp_path):
    assert "holds no run" in refused(tmp_path / "none", "--out", tmp_path / "report.html")


@pytest.mark.parametrize("name", ["config.json", "report", "report.pdf"])
def test_out_must_be_a_page(refused, trained, tmp_path, name):
    assert refused(trained, "--out", tmp_path / name).endswith("must end in .html")


def test_out_must_be_given(refused, trained):
    assert "--out" in refused(trained)


def test_out_must_be_writable(refused, trained, tmp_path):
    assert "cannot be written" in refused(trained, "--out", "/proc/none/report.html")
    folder = tmp_path / "folder.html"
    folder.mkdir()
    assert "is a folder" in refused(trained, "--out", folder)
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(trained, "--out", tmp_path / "file" / "report.html")


def test_a_baseline_must_be_in_the_report(refused, trained, tmp_path):
    words = (trained, "--out", tmp_path / "report.html", "--baseline", "cot")
    assert refused(*words).startswith("--baseline cot: there are no such runs")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", '{"learnr": "mle"}'),
        ("config.json", "[]"),
        ("config.json", '{"learner": 5}'),
        ("config.json", '{"seed": "x"}'),
        ("config.json", '{"learner_options": [1]}'),
        ("config.json", '{"updates": "many"}'),
        ("evaluation.json", "{"),
        ("evaluation.json", "[]"),
        ("evaluation.json", '{"checkpoint": "x", "num_samples": 3}'),
        ("evaluation.json", '{"checkpoint": "x", "num_samples": 3, "rows": 4}'),
        (
            "evaluation.json",
            '{"checkpoint": "x", "num_samples": 3, '
            '"rows": [{"name": "model", "nll_test": {"mean": "much"}}]}',
        ),
        ("sweep.json", '{"quality": "nll_oracle", "rows": []}'),
        ("sweep.json", '{"quality": "a", "diversity": "b", "rows": [{"name": "model"}]}'),
        ("metrics.jsonl", "3\n"),
        ("metrics.jsonl", '{"kind": "train"}\n'),
        ("metrics.jsonl", '{"kind": "train", "update": "x"}\n'),
        ("metrics.jsonl", b"\xff\xfe"),
        ("vocabulary.json", "{}"),
        ("samples/update-00000006.jsonl", '{"text": "a"}\n'),
        ("samples/update-00000006.jsonl", '{"text": "a", "actions": [1000000]}\n'),
        ("samples/update-00000006.jsonl", '{"text": "a", "actions": "abc"}\n'),
        ("samples/update-00000006.jsonl", "{\n"),
    ],
)
def test_a_damaged_file_is_named(refused, run, tmp_path, name, content):
    path = Path(run) / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refused(run, "--out", tmp_path / "report.html")
    assert name in line
