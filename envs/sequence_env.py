"""One sequence being typed, with a backspace: the reference, in plain Python and NumPy.

What each key does is written out here a second time, without `rubout.tape`, so that the two can be
held against each other; `envs.vector_env` is the one to generate with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from envs.common import (
    Decode,
    RewardFunction,
    build_reward,
    check_options,
    check_render_mode,
    judge,
    observation_space,
    strike_through,
)
from rubout.types import ActionSpace, Sequences, Trajectories

Observation: TypeAlias = dict[str, Any]  # of int64 arrays and scalars


class SequenceEnv(gymnasium.Env[Observation, np.int64]):
    """Type tokens one at a time, rub out what was wrong, end the sequence.

    Actions 0..V-1 type a token; then follow `<eos>` and `<backspace>` where there are such. An
    episode is terminated by `<eos>` or, where there is none, by a full tape; it is truncated at the
    action limit. An illegal action (any on the list below, or no action at all) changes nothing
    but the count of actions: nothing to rub out, the prompt's end, no backspaces left, a token on
    a full tape, the forbidden token.

    Observations are Dict(tokens, length, steps), see `envs.common.observation_space`. `info` always
    says what is legal: `can_type` (bool), `can_backspace` (bool), `forbidden` (the one token not
    allowed now, -1 if none); with `action_mask=True` also `action_mask` (int8 [A]).

    The reward of a finished episode is computed once and paid with its last action, also where it
    is given per action [B, T]: a reward of finished text cannot be paid earlier. Step penalties are
    paid with each step.

    Args:
        num_tokens: V.
        max_length: L, the most tokens on the tape, prompt included.
        max_actions: the most actions in an episode, legal or not; None: see ActionSpace.
        eos: whether sequences end by an action of their own.
        backspace: whether the last token can be rubbed out.
        forbid_redo: the token just rubbed out may not be typed again at once.
        max_backspaces: the most deletions in an episode; None: no limit.
        reward: Trajectories -> float [B] or [B, T]; or the name `module:Class` of a
            `rubout.reward.Reward` with default options; None: zero.
        step_penalty: subtracted from the reward of every action.
        action_mask: whether `info` has the full mask.
        decode: token ids to text, for `render`; None: the ids.
        render_mode: "ansi" or None.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 10}

    def __init__(
        self,
        *,
        num_tokens: int = 16,
        max_length: int = 32,
        max_actions: int | None = None,
        eos: bool = True,
        backspace: bool = True,
        forbid_redo: bool = False,
        max_backspaces: int | None = None,
        reward: RewardFunction | str | None = None,
        step_penalty: float = 0.0,
        action_mask: bool = False,
        decode: Decode | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.space = ActionSpace(
            num_tokens, max_length, max_actions, eos, backspace, forbid_redo, max_backspaces
        )
        self.observation_space = observation_space(self.space)
        self.action_space = spaces.Discrete(self.space.size)
        self.render_mode = check_render_mode(render_mode)
        self._reward = build_reward(self.space, reward)
        self._step_penalty = np.float32(step_penalty)
        self._action_mask = action_mask
        self._decode = decode
        self._over = True  # until the first reset
        self._clear([])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: seeds `np_random`; the dynamics themselves are deterministic.
            options: `prompt`: token ids that stand on the tape and cannot be rubbed out;
                `prefix`: action ids typed after it as if the policy had typed them: they count as
                actions and can be rubbed out, but cost no step penalty.

        Raises:
            ValueError: an unknown option, a prompt that fills the tape or holds ids that are not
                tokens, a prefix that holds ids that are not actions or that ends the episode.
        """
        super().reset(seed=seed)
        check_options(options, ("prompt", "prefix"))
        given = {key: ids for key, ids in (options or {}).items() if ids is not None}
        prompt = [int(token) for token in given.get("prompt", ())]
        prefix = [int(action) for action in given.get("prefix", ())]
        if len(prompt) >= self.space.max_length:
            raise ValueError(
                f"a prompt of {len(prompt)} tokens fills the tape of {self.space.max_length}"
            )
        if any(not 0 <= token < self.space.num_tokens for token in prompt):
            raise ValueError("a prompt holds ids that are not tokens")
        if any(not 0 <= action < self.space.size for action in prefix):
            raise ValueError("a prefix holds ids that are not actions")

        self._over = True  # stays so if the prefix is refused
        self._clear(prompt, given="prompt" in given)
        for action in prefix:
            self._press(action)
            if self._ended() or self._out_of_actions():
                raise ValueError(f"the prefix {prefix} ends the episode by itself")
        self._over = False
        return self._observation(), self._info()

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Press one key.

        Raises:
            ResetNeeded: the episode is over, or none was started.
        """
        if self._over:
            raise ResetNeeded("the episode is over or never began: call reset() before step()")
        self._press(int(action))
        terminated = self._ended()
        truncated = not terminated and self._out_of_actions()
        self._over = terminated or truncated
        reward = 0.0 - self._step_penalty
        if self._over and self._reward is not None:
            reward += np.float32(judge(self._reward, self._trajectories(terminated)).sum().item())
        return self._observation(), float(reward), terminated, truncated, self._info()

    def render(self) -> str | None:
        """All that was typed so far, in order, the prompt included.

        Returns:
            in mode "ansi" the text, with what was rubbed out struck through (ANSI SGR 9 ... 29);
            without a render mode nothing, and a warning.
        """
        if self.render_mode is None:
            gymnasium.logger.warn("render() without a render_mode: pass render_mode='ansi'")
            return None
        stands = [False] * len(self._written)
        for place in self._tape:
            stands[place] = True
        return strike_through(self._written, stands, self._decode)

    def _clear(self, prompt: list[int], *, given: bool = False) -> None:
        self._prompt = prompt
        self._has_prompt = given
        self._written = list(prompt)  # every token that was ever on the tape
        self._tape = list(range(len(prompt)))  # which of them stand there now
        self._log: list[int] = []
        self._backspaces = 0
        self._rubbed = -1

    def _can_type(self) -> bool:
        return len(self._tape) < self.space.max_length

    def _can_backspace(self) -> bool:
        limit = self.space.max_backspaces
        left = limit is None or self._backspaces < limit
        return self.space.backspace and left and len(self._tape) > len(self._prompt)

    def _forbidden(self) -> int:
        return self._rubbed if self.space.forbid_redo else -1

    def _press(self, action: int) -> None:
        self._log.append(action)
        rubbed = -1
        if 0 <= action < self.space.num_tokens:
            if self._can_type() and action != self._forbidden():
                self._tape.append(len(self._written))
                self._written.append(action)
        elif self.space.backspace and action == self.space.backspace_id and self._can_backspace():
            rubbed = self._written[self._tape.pop()]
            self._backspaces += 1
        self._rubbed = rubbed

    def _ended(self) -> bool:
        if self.space.eos:
            return self._log[-1] == self.space.eos_id
        return not self._can_type()

    def _out_of_actions(self) -> bool:
        return len(self._log) >= self.space.action_limit

    def _observation(self) -> Observation:
        tokens = np.zeros(self.space.max_length, dtype=np.int64)
        tokens[: len(self._tape)] = [self._written[place] for place in self._tape]
        return {
            "tokens": tokens,
            "length": np.int64(len(self._tape)),
            "steps": np.int64(len(self._log)),
        }

    def _info(self) -> dict[str, Any]:
        info: dict[str, Any] = {
            "can_type": self._can_type(),
            "can_backspace": self._can_backspace(),
            "forbidden": self._forbidden(),
        }
        if self._action_mask:
            info["action_mask"] = self._mask()
        return info

    def _mask(self) -> NDArray[np.int8]:
        mask = np.zeros(self.space.size, dtype=np.int8)
        mask[: self.space.num_tokens] = self._can_type()
        if self._forbidden() >= 0:
            mask[self._forbidden()] = 0
        if self.space.eos:
            mask[self.space.eos_id] = 1
        if self.space.backspace:
            mask[self.space.backspace_id] = self._can_backspace()
        return mask

    def _trajectories(self, terminated: bool) -> Trajectories:
        actions: Sequence[int] = self._log
        return Trajectories(
            actions_BT=torch.tensor([actions]),
            log_probs_BT=torch.zeros(1, len(actions)),
            num_actions_B=torch.tensor([len(actions)]),
            terminated_B=torch.tensor([terminated]),
            policy_version_B=torch.tensor([0]),
            prompts=Sequences.of([self._prompt]) if self._has_prompt else None,
        )
