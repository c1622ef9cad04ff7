"""Command lines from frozen dataclasses, with errors of one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import typing
from typing import Any, TypeVar

import tyro

from rubout.errors import UserError, nearest

T = TypeVar("T")


def parse(cls: type[T], argv: list[str], prog: str, default: T | None = None) -> T:
    """Options of a command.

    Args:
        cls: a dataclass; nested ones take dotted names.
        argv: the words after the command.
        prog: `rubout train`, for the help.
        default: values to start from, instead of the class's own.

    Raises:
        UserError: an unknown option (nearest match given), a missing or a malformed value.
    """
    errors = io.StringIO()
    arguments: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(errors):
            options, unknown = tyro.cli(
                cls, args=argv, prog=prog, return_unknown_args=True, **arguments
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UserError(_first_lines(errors.getvalue())) from None
    if unknown:
        raise UserError(f"unknown option {unknown[0]}{nearest(unknown[0], flags(cls))}")
    return typing.cast("T", options)


def flags(cls: type, prefix: str = "--") -> list[str]:
    """Every option of a dataclass, dotted."""
    found = []
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        hint, name = hints[field.name], field.name.replace("_", "-")
        for extra in getattr(hint, "__metadata__", ()):
            name = getattr(extra, "name", None) or name
        hint = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            found += flags(hint, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def peek(argv: list[str], flag: str) -> str | None:
    """The value of an option before the options are known."""
    for place, word in enumerate(argv):
        if word == flag and place + 1 < len(argv):
            return argv[place + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None


def _first_lines(box: str) -> str:
    """The message in tyro's box: what stands between its title and the rule below it.

    The title is part of the box's upper edge, or, where the terminal has no characters for edges,
    a line of its own with a rule of hyphens below.
    """
    sections: list[list[str]] = [[]]
    for line in box.splitlines():
        words = line.strip("│| ").strip()
        if re.search(r"[─-]{8,}[╮╯]?$", words):
            sections.append([])
        elif words:
            sections[-1].append(words)
    filled = [section for section in sections if section]
    titled = bool(sections[0])  # before the first rule
    message = filled[titled : titled + 1]
    if not message:
        return "the options could not be read"
    # What a Config itself says of its options needs no more words before it.
    return re.sub(r"^Error parsing [a-z]+-options: ", "", " ".join(message[0]))
