"""`rubout generate RUN`: sequences from a trained policy; needs no corpus."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from rubout.cli import show
from rubout.cli.parse import parse
from rubout.cli.prompts import repeated
from rubout.errors import UserError
from rubout.evaluation.evaluate import draw, sample_records
from rubout.files import replacing
from rubout.training.run_folder import RunFolder


@dataclass(frozen=True)
class GenerateOptions:
    """Write sequences, one a line, to stdout or to a file."""

    run: Annotated[Path, tyro.conf.Positional]
    """RUN folder."""
    num: int = 10
    """Sequences."""
    temperature: float = 1.0
    """Divides the logits."""
    seed: int = 0
    """The same seed gives the same sequences."""
    prompt: str | None = None
    """What every sequence starts with; it cannot be rubbed out."""
    prefix: str | None = None
    """What has been typed after the prompt when the policy goes on; it can be rubbed out."""
    out: Path | None = None
    """File to write; default: stdout."""
    trace: bool = False
    """Write JSON lines with every action, backspaces included, instead of text."""
    unknown: bool = False
    """Let the token for unknown words appear."""
    checkpoint: Literal["best", "last"] | None = None
    """Best by validation NLL, or the newest (default: the one that stands for its learner: the
    newest where likelihood is not what it optimises)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the policy runs, wherever it was trained."""
    threads: int = 1
    """CPU threads."""


def run(argv: list[str]) -> int:
    """See the module."""
    options = parse(GenerateOptions, argv, "rubout generate")
    if options.num < 1 or not options.temperature > 0 or options.threads < 1:
        raise UserError("--num, --temperature and --threads must be positive")
    torch.set_num_threads(options.threads)
    folder = RunFolder.existing(options.run.resolve())
    codec = folder.codec()
    given = partial(
        repeated,
        num=options.num,
        codec=codec,
        space=folder.space(),
        unknown=options.unknown,
        advice="; with --unknown they become the token for unknown words",
    )
    prompts = given(options.prompt)
    prefixes = given(options.prefix, option="--prefix", after=prompts)
    policy, _ = show.trained_policy(folder, folder.config(), options.checkpoint, options.device)
    suppress = () if options.unknown else show.unknown(codec)
    drawn = draw(
        policy, options.num, options.seed, prompts, options.temperature, suppress, prefixes
    )
    records = sample_records(policy, codec, drawn)
    if options.trace:
        lines = [json.dumps(record, ensure_ascii=False) for record in records]
    else:
        lines = [" ".join(record["text"].splitlines()) for record in records]
    text = "".join(f"{line}\n" for line in lines)
    if options.out is None:
        sys.stdout.write(text)
        return 0
    try:
        with replacing(options.out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {options.out} cannot be written: {error.strerror}") from error
    print(f"{options.num:,} sequences written to {options.out}")
    return 0
