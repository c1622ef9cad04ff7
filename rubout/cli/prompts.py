"""What `--prompt` says, as token ids."""

from __future__ import annotations

from rubout.errors import UserError
from rubout.task import Codec
from rubout.types import ActionSpace, Sequences


def repeated(
    prompt: str | None,
    num: int,
    codec: Codec,
    space: ActionSpace,
    *,
    unknown: bool = False,
    advice: str = "",
) -> Sequences | None:
    """The same prompt for every sequence.

    Args:
        prompt: what the user gave; None: nothing.
        num: sequences.
        codec: of the run.
        space: of the run.
        unknown: whether words outside the vocabulary may stand in it.
        advice: what to do about them, to end the error with.

    Returns:
        `num` prompts, or None.

    Raises:
        UserError: it cannot be encoded, has unknown words, or leaves no room on the tape.
    """
    if prompt is None:
        return None
    try:
        tokens = codec.encode(prompt)
    except ValueError as error:
        raise UserError(f"--prompt: {error}") from error
    if not unknown and codec.unknown_id in tokens:
        words = [word for word in prompt.split() if codec.unknown_id in codec.encode(word)]
        raise UserError(
            f"--prompt has words that the run does not know: {', '.join(words)}{advice}"
        )
    if len(tokens) >= space.max_length:
        raise UserError(
            f"--prompt has {len(tokens)} tokens and a sequence has at most {space.max_length}"
        )
    return Sequences.of([tokens] * num)
