"""`rubout generate RUN`: sequences from a trained policy; needs no corpus."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from rubout.cli.drawing import DrawOptions, drawn_from
from rubout.cli.parse import parse
from rubout.errors import UserError
from rubout.evaluation.draws import sample_records
from rubout.files import replacing


@dataclass(frozen=True)
class GenerateOptions(DrawOptions):
    """Write sequences, one a line, to stdout or to a file."""

    out: Path | None = None
    """File to write; default: stdout."""
    trace: bool = False
    """Write JSON lines with every action, backspaces included, instead of text."""


def run(argv: list[str]) -> int:
    """See the module."""
    options = parse(GenerateOptions, argv, "rubout generate")
    policy, codec, drawn = drawn_from(options)
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
