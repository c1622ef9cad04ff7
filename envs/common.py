"""What the single and the vectorised env share: spaces, options, the reward, the rendering."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rubout.errors import nearest
from rubout.plugins import find
from rubout.reward import per_action
from rubout.types import ActionSpace, Trajectories

Array: TypeAlias = Tensor | NDArray[Any]
RewardFunction: TypeAlias = Callable[[Trajectories], Tensor]
Decode: TypeAlias = Callable[[list[int]], str]

STRIKE, UNSTRIKE = "\x1b[9m", "\x1b[29m"


def observation_space(space: ActionSpace) -> spaces.Dict:
    """What one env shows: the tape, its length, the actions so far.

    Returns:
        Dict(tokens: MultiDiscrete([V] * L), 0 beyond the end; length: Discrete(L + 1);
        steps: Discrete(action_limit + 1)), all int64.
    """
    return spaces.Dict(
        tokens=spaces.MultiDiscrete(np.full(space.max_length, space.num_tokens)),
        length=spaces.Discrete(space.max_length + 1),
        steps=spaces.Discrete(space.action_limit + 1),
    )


def build_reward(space: ActionSpace, reward: RewardFunction | str | None) -> RewardFunction | None:
    """The reward an env was given: itself, or built from its name with its default options.

    Raises:
        UserError: the name stands for no reward.
    """
    if not isinstance(reward, str):
        return reward
    cls = find("reward", reward)
    built: RewardFunction = cls(space, cls.Config(), None)  # type: ignore[attr-defined]
    return built


def judge(reward: RewardFunction, trajectories: Trajectories) -> Tensor:
    """What each action of finished episodes earned: see `rubout.reward.per_action`."""
    with torch.no_grad():
        return per_action(reward(trajectories), trajectories)


def check_options(options: Mapping[str, object] | None, known: Sequence[str]) -> None:
    """Raise ValueError for a reset option that nobody reads."""
    for key in options or {}:
        if key not in known:
            raise ValueError(f"unknown reset option {key!r}{nearest(key, known)}")


def check_render_mode(render_mode: str | None) -> str | None:
    """The render mode, which is None or "ansi"."""
    if render_mode not in (None, "ansi"):
        raise ValueError(f"unknown render_mode {render_mode!r}; expected 'ansi' or None")
    return render_mode


def give(value: Any, *, as_numpy: bool) -> Any:
    """A copy of a tensor, or of a dict of them, so that nothing done to it can reach the env."""
    if isinstance(value, dict):
        return {key: give(item, as_numpy=as_numpy) for key, item in value.items()}
    copy = value.clone()
    return copy.cpu().numpy() if as_numpy else copy


def strike_through(written: Sequence[int], stands: Sequence[bool], decode: Decode | None) -> str:
    """Text in the order it was typed, what was rubbed out struck through (SGR 9 ... 29).

    Args:
        written: every token that was ever on the tape, the prompt first.
        stands: for each whether it still is.
        decode: token ids to text; None: the ids, with spaces between.

    Returns:
        the runs of tokens with the same fate, each decoded by itself; what `decode` puts between
        the two tokens at a seam (a space between words, nothing between letters) is put there.
    """
    decode = decode or _ids
    text, last = "", -1
    for alive, run in groupby(zip(written, stands, strict=True), key=lambda pair: pair[1]):
        tokens = [token for token, _ in run]
        piece = decode(tokens)
        seam = _seam(last, tokens[0], decode) if text else ""
        text += seam + (piece if alive else f"{STRIKE}{piece}{UNSTRIKE}")
        last = tokens[-1]
    return text


def _ids(tokens: list[int]) -> str:
    return " ".join(map(str, tokens))


def _seam(left: int, right: int, decode: Decode) -> str:
    before, after, both = decode([left]), decode([right]), decode([left, right])
    inner = both.removeprefix(before).removesuffix(after)
    return inner if before + inner + after == both else ""
