"""The one exception a user is meant to see."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: shown as one line, exit code 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint to append to an error about an unknown name.

    Args:
        name: what the user typed.
        known: every name that would have been accepted.

    Returns:
        `` (did you mean X?)`` where one is close, else `` (known: ...)``.
    """
    names = sorted(known)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if match:
        return f" (did you mean {match[0]}?)"
    return f" (known: {', '.join(names)})" if names else ""
