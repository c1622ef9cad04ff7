"""What `generate` and `watch` share: sequences drawn from a run, by the same options."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rubout.cli import show
from rubout.errors import UserError
from rubout.evaluation.draws import draw
from rubout.policy import Policy
from rubout.process import set_up
from rubout.task import Codec
from rubout.training.run_folder import RunFolder
from rubout.types import ActionSpace, Sequences, Trajectories


@dataclass(frozen=True)
class DrawOptions:
    """Which sequences of which run."""

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
    unknown: bool = False
    """Let the token for unknown words appear."""
    checkpoint: Literal["best", "last"] | None = None
    """Best by validation NLL, or the newest (default: the one that stands for its learner: the
    newest where likelihood is not what it optimises)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the policy runs, wherever it was trained."""
    threads: int = 1
    """CPU threads."""


def drawn_from(options: DrawOptions) -> tuple[Policy, Codec, Trajectories]:
    """Draw what the options say.

    Returns:
        the run's policy and codec, and the sequences, on the CPU.

    Raises:
        UserError: an option is wrong, or the run is none.
    """
    if options.num < 1 or not 0 < options.temperature < math.inf or options.threads < 1:
        raise UserError("--num, --temperature and --threads must be positive, and not infinite")
    set_up(options.threads)
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
    return policy, codec, drawn


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
