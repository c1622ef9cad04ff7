"""What `--prompt` and `--prefix` say, as token ids."""

from __future__ import annotations

from rubout.errors import UserError
from rubout.task import Codec
from rubout.types import ActionSpace, Sequences


def repeated(
    text: str | None,
    num: int,
    codec: Codec,
    space: ActionSpace,
    *,
    option: str = "--prompt",
    after: Sequences | None = None,
    unknown: bool = False,
    advice: str = "",
) -> Sequences | None:
    """The same text for every sequence to begin with.

    Args:
        text: what the user gave; None: nothing.
        num: sequences.
        codec: of the run.
        space: of the run.
        option: by which it was given.
        after: what stands on the tape before it.
        unknown: whether words outside the vocabulary may stand in it.
        advice: what to do about them, to end the error with.

    Returns:
        `num` times its tokens, or None.

    Raises:
        UserError: it cannot be encoded, has unknown words, or leaves no room on the tape.
    """
    if text is None:
        return None
    try:
        tokens = codec.encode(text)
    except ValueError as error:
        raise UserError(f"{option}: {error}") from error
    if not unknown and codec.unknown_id in tokens:
        words = [word for word in text.split() if codec.unknown_id in codec.encode(word)]
        raise UserError(
            f"{option} has words that the run does not know: {', '.join(words)}{advice}"
        )
    taken = 0 if after is None else after.tokens_BL.shape[1]
    if taken + len(tokens) >= space.max_length:
        behind = f" after {taken} of the prompt" if taken else ""
        raise UserError(
            f"{option} has {len(tokens)} tokens{behind} and a sequence has at most "
            f"{space.max_length}"
        )
    return Sequences.of([tokens] * num)
