"""`rubout score`: BLEU and Self-BLEU of any two text files, with intervals and a signature."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from rubout.cli import tables
from rubout.cli.parse import parse
from rubout.cli.traces import counted
from rubout.errors import UserError
from rubout.evaluation import bleu
from rubout.evaluation.bleu import (
    ORDERS,
    Jackknife,
    jackknife_self_bleu,
    self_bleu,
    sentence_bleu,
)
from rubout.evaluation.crosscheck import ORDER, Check, by_sacrebleu
from rubout.evaluation.diversity import diversity
from rubout.evaluation.estimate import Estimate, mean_of
from rubout.evaluation.matches import Sentence
from rubout.evaluation.titles import title_of
from rubout.evaluation.tokens import Text, TokenizerName, read_sentences, tokenizer

Figure = float | Estimate | Jackknife | None

_EXPLANATION = """\
real: as many of the reference's first sentences, among themselves.
BLEU: n-grams that the reference has too; higher is closer. Self-BLEU: n-grams that the other
generated sentences have too; lower is more diverse. Both rise with the number of sentences they
are counted in: compare figures of one signature only."""


@dataclass(frozen=True)
class ScoreOptions:
    """Score generated sentences against real ones, any two text files, one sentence a line."""

    generated: Path
    """The sentences to score, UTF-8, one a line; blank lines are skipped and reported."""
    reference: Path
    """Real sentences, all of them a reference for each generated one."""
    train: Path | None = None
    """What the generator was trained on, to score against too; near 1: learned by heart."""
    tokenizer: TokenizerName = "space"
    """Split at whitespace, as NLTK does (punctuation apart), or into characters."""
    lowercase: bool = False
    """Lower-case all files first."""
    max_sentences: int = 0
    """Score the first so many generated sentences, to compare Self-BLEU at one size; 0: all."""
    intervals: bool = True
    """95% intervals: bootstrap over generated sentences, for Self-BLEU the jackknife."""
    sacrebleu: bool = False
    """Also let sacrebleu score at most 1,000 of the sentences, as a check."""
    seed: int = 0
    """Of the intervals and of sacrebleu's sample."""
    json: bool = False
    """Print one JSON document and nothing else."""


def run(argv: list[str]) -> int:
    """See the module."""
    options = parse(ScoreOptions, argv, "rubout score")
    if options.max_sentences < 0 or options.seed < 0:
        raise UserError("--max-sentences and --seed must not be negative")
    texts = _read(options)
    generated, reference = texts["generated"].sentences, texts["reference"].sentences
    train = texts["train"].sentences if "train" in texts else None
    found = figures(generated, reference, train, options)
    real = of_real(reference[: len(generated)])
    check = by_sacrebleu(generated, reference, options.seed) if options.sacrebleu else None
    if options.json:
        print(json.dumps(_document(options, texts, found, real, check)))
    else:
        _report(options, texts, found, real, check)
    return 0


def figures(
    generated: Sequence[Sentence],
    reference: Sequence[Sentence],
    train: Sequence[Sentence] | None,
    options: ScoreOptions,
) -> dict[str, Figure]:
    """Every figure by its name, in the order of the table; None where it cannot be had."""
    found = _bleu("bleu", generated, reference)
    found |= _self_bleu(generated, options)
    if train is not None:
        found |= _bleu("train-bleu", generated, train)
    return found | diversity(generated, reference, train)


def of_real(sentences: Sequence[Sentence]) -> dict[str, Figure]:
    """What as many real sentences have by themselves, to be read beside the generated ones'."""
    found: dict[str, Figure] = {}
    if len(sentences) > 1:
        found |= {f"self-bleu-{order}": value for order, value in self_bleu(sentences).items()}
    return found | diversity(sentences)


def interval(figure: Figure, options: ScoreOptions) -> tuple[float, float] | None:
    """95%; None where none was asked for or the sentences are too few to tell."""
    if not options.intervals:
        return None
    if isinstance(figure, Estimate) and figure.count > 1:
        return figure.interval(seed=options.seed)
    return figure.interval() if isinstance(figure, Jackknife) else None


def signature(texts: Mapping[str, Text], options: ScoreOptions) -> str:
    """All that figures of other papers and programs may differ in."""
    sizes = {name: len(text.sentences) for name, text in texts.items()}
    return bleu.signature(
        sizes["generated"],
        sizes["reference"],
        options.tokenizer,
        "lower" if options.lowercase else "mixed",
        **({"train": sizes["train"]} if "train" in sizes else {}),
    )


def _read(options: ScoreOptions) -> dict[str, Text]:
    tokenize = tokenizer(options.tokenizer)
    paths = {"reference": options.reference}
    if options.train is not None:
        paths["train"] = options.train
    limit = options.max_sentences or None
    first = read_sentences(options.generated, tokenize, lowercase=options.lowercase, limit=limit)
    rest = {
        name: read_sentences(path, tokenize, lowercase=options.lowercase)
        for name, path in paths.items()
    }
    return {"generated": first, **rest}


def _bleu(
    name: str, generated: Sequence[Sentence], reference: Sequence[Sentence]
) -> dict[str, Figure]:
    scores_SK = sentence_bleu(generated, reference)
    return {
        f"{name}-{order}": mean_of(scores_S)
        for order, scores_S in zip(ORDERS, scores_SK.unbind(1), strict=True)
    }


def _self_bleu(generated: Sequence[Sentence], options: ScoreOptions) -> dict[str, Figure]:
    found: Mapping[int, Figure] = dict.fromkeys(ORDERS)
    if len(generated) > 2 and options.intervals:
        found = jackknife_self_bleu(generated, seed=options.seed)
    elif len(generated) > 1:
        found = self_bleu(generated)
    return {f"self-bleu-{order}": figure for order, figure in found.items()}


def _value(figure: Figure) -> float | None:
    return figure.mean if isinstance(figure, Estimate | Jackknife) else figure


def _shown(figure: Figure) -> str:
    value = _value(figure)
    return "" if value is None else f"{value:.4f}"


def _document(
    options: ScoreOptions,
    texts: Mapping[str, Text],
    found: Mapping[str, Figure],
    real: Mapping[str, Figure],
    check: Check | None,
) -> dict[str, object]:
    intervals = {name: interval(figure, options) for name, figure in found.items()}
    return {
        **{name: _value(figure) for name, figure in found.items()},
        "intervals": {name: ends for name, ends in intervals.items() if ends is not None},
        "reference": {name: _value(figure) for name, figure in real.items()},
        "signature": signature(texts, options),
        "blank_lines": {name: text.blank for name, text in texts.items()},
        **({} if check is None else {"sacrebleu": asdict(check)}),
    }


def _report(
    options: ScoreOptions,
    texts: Mapping[str, Text],
    found: Mapping[str, Figure],
    real: Mapping[str, Figure],
    check: Check | None,
) -> None:
    shown = Table()
    shown.add_column("")
    shown.add_column("figure", justify="right")
    if options.intervals:
        shown.add_column("95% interval", justify="right")
    shown.add_column("real", justify="right")
    shown.add_column("what it is")
    for name, figure in found.items():
        cells = [_shown(figure)]
        if options.intervals:
            ends = interval(figure, options)
            cells.append("" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}")
        shown.add_row(name, *cells, _shown(real.get(name)), title_of(name).meaning)
    tables.print_table(shown)
    print(signature(texts, options))
    print(_EXPLANATION)
    for note in _notes(options, texts):
        print(f"note: {note}")
    if check is not None:
        print(_check_lines(check, len(texts["generated"].sentences)))
    if options.train is not None:
        print(f"\nnext, what real sentences score:\n  {_next(options, texts)}")


def _notes(options: ScoreOptions, texts: Mapping[str, Text]) -> list[str]:
    """What was left out."""
    paths = {"generated": options.generated, "reference": options.reference, "train": options.train}
    found = [
        f"{counted(text.blank, 'blank line')} of {paths[name]} skipped"
        for name, text in texts.items()
        if text.blank
    ]
    if len(texts["generated"].sentences) < 2:
        found.append("no Self-BLEU: it needs two generated sentences")
    return found


def _check_lines(check: Check, generated: int) -> str:
    of = f"{check.sentences:,} of {generated:,}" if check.sentences < generated else "all"
    lines = [
        f"\nsacrebleu, mean sentence BLEU-{ORDER} of {of} generated sentences: "
        f"{check.sacrebleu:.4f}; rubout, of the same: {check.rubout:.4f}"
    ]
    if check.short:
        lines.append(
            f"{counted(check.short, 'sentence')} of fewer than {ORDER} tokens: by their own orders "
            f"in sacrebleu, with 0.1 matches of the others in rubout"
        )
    return "\n".join([*lines, check.signature])


def _next(options: ScoreOptions, texts: Mapping[str, Text]) -> str:
    """The command that scores the training sentences, as many as were generated."""
    words = ["rubout", "score", "--generated", str(options.train)]
    words += ["--reference", str(options.reference), "--tokenizer", options.tokenizer]
    words += ["--lowercase"] if options.lowercase else []
    words += ["--max-sentences", str(len(texts["generated"].sentences))]
    return shlex.join(words)
