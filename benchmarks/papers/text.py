"""Tables on text: BLEU-2..5 against the test file, and Self-BLEU-2..5, of samples."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.papers import commands, runs
from benchmarks.papers.commands import SEEDS, TEXT_LEARNERS
from rubout.evaluation.tokens import read_sentences, tokenizer
from rubout.files import replacing

SWEEP: dict[str, list[str]] = {
    "smoke": ["--num-samples", "50"],
    "cpu": ["--num-samples", "10000"],
    "full": ["--num-samples", "10000"],
}
COLUMNS = [f"{name}-{order}" for name in ("bleu", "self-bleu") for order in (2, 3, 4, 5)]


def parser(title: str, train: str, test: str) -> argparse.ArgumentParser:
    """The options of a table on text."""
    found = runs.parser(title)
    data = Path("../shared/data")
    found.add_argument("--train", type=Path, default=data / train, help="one sentence a line")
    found.add_argument("--test", type=Path, default=data / test, help="one sentence a line")
    found.add_argument("--learners", default=",".join(TEXT_LEARNERS), help="some of them")
    return found


def table(
    title: str,
    published: Mapping[str, str],
    sharpened: Sequence[str],
    options: argparse.Namespace,
    name: str,
) -> None:
    """Train, draw, count, print.

    Args:
        title: of the table.
        published: BLEU-2..5 and Self-BLEU-2..5, by row.
        sharpened: learners that have a row at multiplier 1.25 too.
        options: see `parser`.
        name: of the report.
    """
    out = runs.folder(options) / name
    learners = options.learners.split(",")
    files: tuple[Path | None, Path | None] = (None, None)
    if options.scale != "smoke":  # which takes the English that ships with Python
        files = (
            tokenised(options.train, out / "train.txt"),
            tokenised(options.test, out / "test.txt"),
        )
    seeds = range(SEEDS[options.scale])
    folders = {learner: [out / f"{learner}-seed{seed}" for seed in seeds] for learner in learners}
    every = {
        run: commands.text(learner, options.scale, seed, *files)
        for learner, of in folders.items()
        for seed, run in enumerate(of)
    }
    multipliers = ["--multipliers", "1.0", "1.25"]
    runs.complete(every, [*SWEEP[options.scale], *multipliers], options.jobs)
    ours = {}
    for learner, of in folders.items():
        ours[learner] = [figures(run, "model", 1.0) for run in of]
        if learner in sharpened:
            ours[f"{learner} x1.25"] = [figures(run, "model", 1.25) for run in of]
    first = next(iter(every))
    references = {row: figures(first, row, 1.0) for row in ("unigram", "training data")}
    runs.conclude(title, ours, references, published, list(every), options, name)
    print("x1.25: logits times 1.25, a temperature of 0.8; the other rows are at temperature 1.")


def figures(run: Path, row: str, multiplier: float) -> dict[str, float]:
    """The columns, of one row of a run's sweep at one multiplier."""
    points = runs.rows_of(run)[row]["points"]
    point = next(point for point in points if point["multiplier"] == multiplier)
    return {name: point[name]["mean"] for name in COLUMNS}


def tokenised(source: Path, target: Path) -> Path:
    """A copy whose tokens stand apart, split as the published figures are (NLTK's rules)."""
    if not target.exists():
        sentences = read_sentences(source, tokenizer("nltk")).sentences
        with replacing(target) as temporary:
            temporary.write_text("".join(f"{' '.join(words)}\n" for words in sentences), "utf-8")
    return target
