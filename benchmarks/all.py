"""Every benchmark of speed, one after the other, and one document of their figures.

    python -m benchmarks.all --scale smoke|cpu [--json] [--only NAME,NAME]

Their tables go to the screen as they come; with `--json` to standard error, and standard output is
one JSON document. The benchmark of a GPU is among them where torch sees one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import machine

PROGRAMS = (
    "startup",
    "generation",
    "mle_update",
    "growth",
    "sequence_match_cost",
    "seqgan_update",
    "rollouts",
    "env_steps",
    "gpu",
)


def run(program: str, scale: str, *, quiet: bool) -> Any:
    """The figures of one program, whose tables are shown."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        words = [sys.executable, "-m", f"benchmarks.{program}", "--json", str(path)]
        words += ["--scale", scale] if program != "gpu" else []
        subprocess.run(words, check=True, stdout=sys.stderr if quiet else None)
        return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=("smoke", "cpu"), default="cpu")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--only", default=",".join(PROGRAMS), help="programs, with commas between")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(PROGRAMS):
        parser.error(f"unknown programs: {', '.join(sorted(unknown))}; known: {PROGRAMS}")
    if not torch.cuda.is_available():
        chosen = [program for program in chosen if program != "gpu"]
    found = {program: run(program, options.scale, quiet=options.json) for program in chosen}
    if options.json:
        print(json.dumps({"scale": options.scale, "results": found} | machine(), indent=2))


if __name__ == "__main__":
    main()
