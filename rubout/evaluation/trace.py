"""How a sequence was typed, as text: what was left, and in its place what was rubbed out.

    two men sits~~ on~~ at the ~~mat~~ house

The same in plain text, for files and pipes, and struck through, for terminals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import torch
from rich.text import Text
from torch import Tensor

from rubout.keys import blank, press
from rubout.task import Codec
from rubout.types import ActionSpace, Sequences, Trajectories

MARK = "~~"  # stands on both sides of what was rubbed out, in plain text
PROMPT_STYLE = "dim"
STRUCK_STYLE = "strike dim red"

# Where str.splitlines would break a line: a trace is one line.
_BREAKS = dict.fromkeys(map(ord, "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"), " ")


@dataclass(frozen=True)
class Piece:
    """Some of what was typed.

    Attributes:
        text: as it stood on the tape, the space before a word included.
        struck: it was rubbed out later.
        prompt: it was not typed, it stood there beforehand.
    """

    text: str
    struck: bool
    prompt: bool = False


def logs(drawn: Trajectories) -> list[tuple[list[int], list[int]]]:
    """Prompt and actions of each sequence, without padding; `[]` for no prompt."""
    prompts = [[] for _ in range(len(drawn))] if drawn.prompts is None else drawn.prompts.lists()
    actions = Sequences(drawn.actions_BT, drawn.num_actions_B).lists()
    return list(zip(prompts, actions, strict=True))


def deletions(space: ActionSpace, drawn: Trajectories) -> Tensor:
    """How often each sequence rubbed something out, int64 [B]."""
    state = blank(space, len(drawn), drawn.prompts, "cpu")
    for actions_B, active_B in zip(
        drawn.actions_BT.unbind(1), drawn.mask_BT.unbind(1), strict=True
    ):
        state, _ = press(space, state, actions_B, active_B)
    return state.num_backspaces_B


def standing(space: ActionSpace, prompt: list[int], actions: list[int]) -> list[list[int]]:
    """What stood on the tape before each action and at the end, as token ids, prompt included.

    Args:
        space: what the actions mean; where one is illegal, the tape stays as it is.
        prompt: token ids, fewer than fill the tape.
        actions: T of them, any value.

    Returns:
        S = T + 1 lists.
    """
    state = blank(space, 1, Sequences.of([prompt]) if prompt else None, "cpu")
    states = [list(prompt)]
    for action in actions:
        state, _ = press(space, state, torch.tensor([action]))
        states.append(state.tokens_BL[0, : int(state.length_B)].tolist())
    return states


def pieces(codec: Codec, space: ActionSpace, prompt: list[int], actions: list[int]) -> list[Piece]:
    """The prompt, then one piece for every token typed, in order of typing.

    For words, characters and ids the pieces that are not struck are, joined, the text of what was
    left. Bytes of a character may be typed one by one; such a piece is what its token is alone.
    A first word that was struck ends with the space before the word that replaced it.

    Args:
        codec: of the run.
        space: what the actions mean.
        prompt: token ids; where empty, there is no piece for it.
        actions: token ids and specials, the illegal ones included.
    """
    found = [Piece(codec.decode(prompt), struck=False, prompt=True)] if prompt else []
    places: list[int] = []  # in `found`, of every typed token that stands
    last = -1  # the token typed before
    for before, after in pairwise(standing(space, prompt, actions)):
        if len(after) > len(before):
            token = after[-1]
            if not before and found:
                gap = _between(codec, last, token)
                found[-1] = replace(found[-1], text=found[-1].text + gap)
            places.append(len(found))
            found.append(Piece(_added(codec, before, after), struck=False))
            last = token
        elif len(after) < len(before):
            place = places.pop()
            found[place] = replace(found[place], struck=True)
    return found


def merged(parts: Sequence[Piece]) -> list[Piece]:
    """The same text in as few pieces as its states allow."""
    groups = groupby(parts, key=lambda piece: (piece.struck, piece.prompt))
    return [
        Piece("".join(piece.text for piece in group), struck, prompt)
        for (struck, prompt), group in groups
    ]


def plain(parts: Sequence[Piece]) -> str:
    """One line, `~~` on both sides of what was rubbed out: what is outside is what was left."""
    shown = [f"{MARK}{piece.text}{MARK}" if piece.struck else piece.text for piece in merged(parts)]
    return "".join(shown).translate(_BREAKS)


def styled(parts: Sequence[Piece]) -> Text:
    """One line for a terminal: what was rubbed out struck through, the prompt dim."""
    shown = Text()
    for piece in merged(parts):
        style = STRUCK_STYLE if piece.struck else PROMPT_STYLE if piece.prompt else ""
        shown.append(piece.text.translate(_BREAKS), style=style)
    return shown


def frames(codec: Codec, space: ActionSpace, prompt: list[int], actions: list[int]) -> list[Text]:
    """The tape before each action and at the end, one line each, S = T + 1; the prompt dim."""
    given = len(codec.decode(prompt))
    shown = []
    for tokens in standing(space, prompt, actions):
        frame = Text(codec.decode(tokens).translate(_BREAKS))
        frame.stylize(PROMPT_STYLE, 0, given)
        shown.append(frame)
    return shown


def _added(codec: Codec, before: list[int], after: list[int]) -> str:
    """The text that the last token of `after` added to that of `before`."""
    old, new = codec.decode(before), codec.decode(after)
    return new.removeprefix(old) if new.startswith(old) else codec.decode(after[-1:])


def _between(codec: Codec, first: int, second: int) -> str:
    """What separates two tokens: a first word rubbed out must not run into what replaced it."""
    left, right, both = (codec.decode(ids) for ids in ([first], [second], [first, second]))
    if not (both.startswith(left) and both.endswith(right)):
        return ""
    return both[len(left) : len(both) - len(right)]
