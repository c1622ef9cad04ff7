"""`rubout COMMAND ...`: finds the command, and turns errors into exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

from rubout import __version__
from rubout.cli.quick import keeping_all
from rubout.errors import UserError, nearest

COMMANDS = {
    "train": "train a policy",
    "tune": "search the options of train; the best trial becomes a run",
    "evaluate": "score a run beside its reference rows",
    "generate": "write sequences a run has learned to type",
    "watch": "see a run type, and rub out, key by key",
    "score": "BLEU and Self-BLEU of any text against another",
    "report": "show runs in one HTML file: tables, curves, fronts, samples as typed",
    "doctor": "what is wrong with this machine, and how to mend it",
    "new": "write a plug-in that works, with its test, to change into your own",
}


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after `rubout`; None: those of this process.

    Returns:
        0, 2 where the user can mend what is wrong, 1 where we must, 130 when interrupted.
    """
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in {"-h", "--help"}:
        print(_usage())
        return 0
    if words[0] == "--version":
        print(f"rubout {__version__}")
        return 0
    command = words[0]
    # The user's plug-ins lie where the command is typed, as they would under `python -m`.
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        if command not in COMMANDS:
            raise UserError(f"unknown command {command!r}{nearest(command, COMMANDS)}")
        with keeping_all():
            module = importlib.import_module(f"rubout.cli.{command}")
        code: int = module.run(words[1:])
    except UserError as error:
        line = " ".join(str(error).split())
        print(f"rubout {command}: error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _usage() -> str:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {what}" for name, what in COMMANDS.items())
    return (
        "usage: rubout COMMAND [OPTIONS]\n\n"
        "Train sequence models to generate.\n\n"
        f"commands:\n{commands}\n\n"
        "`rubout COMMAND --help` gives every option with its default and unit."
    )
