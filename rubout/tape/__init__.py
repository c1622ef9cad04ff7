"""Whole action logs on the tape: what is left of them, and what every state sees.

States are a pure function of the action log, so only actions are ever stored or sent. The
vectorised env presses keys one at a time (`rubout.keys.press`), policies and losses replay whole
logs (`replay`); both rest on the same transition.

A log is laid out as a tree of nodes: node 0 is the start, one node for every token of the prompt
and for every token typed. A node's parent is the token it was typed after; a backspace returns to
the parent, makes no node and so costs nothing. The state before action t is a node; what that
state sees is the path from the start to it.
"""

from __future__ import annotations

from rubout.tape.replay import replay, survivors
from rubout.tape.tape import Tape, visibility, with_ends, written

__all__ = ["Tape", "replay", "survivors", "visibility", "with_ends", "written"]
