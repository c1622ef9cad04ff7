"""Many sequences being typed at once, in PyTorch on any device: a thin shell around `rubout.tape`.

The conventions are those of Gymnasium's SyncVectorEnv over `SequenceEnv`, step for step, except:

- DISABLED: a row that is over and stepped nevertheless is frozen (its action is ignored and not
  logged, its reward is 0, its flags stay), where SyncVectorEnv refuses: generating a batch in
  lock-step, until the last row is over, needs that.
- SAME_STEP and NEXT_STEP: a row restarts with the prompt it had, and without the prefix, where
  SyncVectorEnv restarts without either: a prompt belongs to the task, a prefix to one episode.
- reset options: `prompt` and `prefix` are given for each env.
- `output="torch"` returns tensors everywhere, and with SAME_STEP `final_obs` is a dict of tensors
  [B, ...], always there (to look whether any row is over would stall a GPU): read it where
  `_final_obs` is True. `output="numpy"` keeps to Gymnasium's own form: an array of dicts or None,
  absent from `info` while no row is over.
- rewards are float32.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from envs.action_log import ActionLog
from envs.common import (
    Array,
    Decode,
    RewardFunction,
    build_reward,
    check_options,
    check_render_mode,
    give,
    judge,
    observation_space,
    strike_through,
)
from envs.starts import choose, read_actions, read_mask, read_rows, restart, type_prefixes
from rubout.keys import Keys, TapeState, blank, is_over, press
from rubout.tape import replay
from rubout.types import ActionSpace, Legality, Trajectories

Observations: TypeAlias = dict[str, Array]
Output: TypeAlias = Literal["torch", "numpy"]


class SequenceVectorEnv(VectorEnv[Observations, Array, Array]):
    """B sequences typed in parallel; what an action does is said at `SequenceEnv`.

    For samplers in the same process, which need no copies:

    Attributes:
        space: ActionSpace; `SequenceVectorEnv(n, **dataclasses.asdict(space))` makes its env.
        tape: TapeState, where each row stands.
        keys: Keys, what the last step's actions did.
        over_B: bool [B], terminated or truncated with the last step.
        legality: Legality, what each row may press next.

    Args:
        num_envs: B.
        num_tokens: see `SequenceEnv` for this and all that is not explained here.
        device: where everything is kept and computed.
        autoreset_mode: an AutoresetMode or its value: "SameStep", "NextStep", "Disabled".
        output: "torch", or "numpy" for stock Gymnasium wrappers.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 10}
    tape: TapeState
    legality: Legality

    def __init__(
        self,
        num_envs: int = 1,
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
        device: torch.device | str = "cpu",
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        output: Output = "torch",
    ) -> None:
        if num_envs < 1:
            raise ValueError("num_envs must be at least 1")
        if output not in ("torch", "numpy"):
            raise ValueError(f"unknown output {output!r}; expected 'torch' or 'numpy'")
        self.space = ActionSpace(
            num_tokens, max_length, max_actions, eos, backspace, forbid_redo, max_backspaces
        )
        self.num_envs = num_envs
        self.device = torch.device(device)
        self.output = output
        self.render_mode = check_render_mode(render_mode)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = observation_space(self.space)
        self.single_action_space = spaces.Discrete(self.space.size)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._reward = build_reward(self.space, reward)
        self._step_penalty = step_penalty
        self._action_mask = action_mask
        self._decode = decode
        keep_rewards = self._reward is not None or step_penalty != 0
        self._log = ActionLog(self.space, num_envs, self.device, keep_rewards=keep_rewards)
        self._none_B = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self._started = False
        self._has_prompts = False
        self._terminated_B = self._truncated_B = self.over_B = self._none_B
        self.keys = Keys(self._none_B, self._none_B, self._none_B)
        self._stand(blank(self.space, num_envs, None, self.device))

    def _stand(self, tape: TapeState) -> None:
        """Where the rows stand now, and what they may press next."""
        self.tape, self.legality = tape, tape.legality(self.space)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Start episodes.

        Args:
            seed: seeds `np_random`; the dynamics themselves are deterministic.
            options: `prompt`: Sequences or lists of token ids, one for each env, that cannot be
                rubbed out; `prefix`: Sequences or lists of action ids, one for each env, typed
                after it as if the policy had typed them; `reset_mask`: bool [B], only these rows
                start anew. Prompts and prefixes of rows that do not are ignored, but must be there.

        Returns:
            observations of all rows, and the infos of those that started.

        Raises:
            ValueError: an unknown option, a wrong number or kind of prompts or prefixes, a prefix
                that ends an episode, a mask of another shape or without a True.
            TypeError: the mask is no bool array or tensor.
        """
        super().reset(seed=seed)
        check_options(options, ("prompt", "prefix", "reset_mask"))
        options = options or {}
        mask = options.get("reset_mask")
        mask_B = None if mask is None else read_mask(mask, self.num_envs, self.device)
        rows_B = ~self._none_B if mask_B is None else mask_B
        prompts = read_rows(options, "prompt", rows_B)
        prefixes = read_rows(options, "prefix", rows_B)
        fresh = blank(self.space, self.num_envs, prompts, self.device)
        if prefixes is not None:
            fresh = type_prefixes(self.space, fresh, prefixes)
            self._log.begin(rows_B, prefixes)

        self._stand(fresh if mask_B is None else choose(mask_B, fresh, self.tape))
        self._has_prompts = prompts is not None or (mask_B is not None and self._has_prompts)
        self._terminated_B = self._terminated_B & ~rows_B
        self._truncated_B = self._truncated_B & ~rows_B
        self.over_B = self._terminated_B | self._truncated_B
        self.keys = Keys(self._none_B, self._none_B, self._none_B)
        self._started = True
        return self._give(self._observations()), self._give(self._info(mask_B))

    def step(self, actions: Array) -> tuple[Observations, Array, Array, Array, dict[str, Any]]:
        """Press one key in each row.

        Args:
            actions: integers [B], any value.

        Raises:
            ResetNeeded: reset() was never called.
            ValueError: the actions are not B integers.
        """
        rewards_B = self.advance(read_actions(actions, self.num_envs, self.device))
        terminated_B, truncated_B = self._terminated_B, self._truncated_B
        info: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            info = self._final()
            self._stand(restart(self.tape, self.over_B))
            self._terminated_B = self._truncated_B = self._none_B
        info |= self._give(self._info())
        flags = self._give(terminated_B), self._give(truncated_B)
        return self._give(self._observations()), self._give(rewards_B), *flags, info

    def advance(self, actions_B: Tensor) -> Tensor:
        """What `step` does, before any row starts anew: for samplers, which read the attributes.

        Args:
            actions_B: int64 [B], any value, on the env's device.

        Returns:
            what the step earned, float32 [B].

        Raises:
            ResetNeeded: reset() was never called.
        """
        if not self._started:
            raise ResetNeeded("call reset() before step()")
        same_step = self.autoreset_mode is AutoresetMode.SAME_STEP
        resting_B = self._none_B if same_step else self.over_B
        if self.autoreset_mode is AutoresetMode.NEXT_STEP:
            self._stand(restart(self.tape, resting_B))
        before = self.tape
        after, self.keys = press(self.space, before, actions_B, ~resting_B, self.legality)
        self._stand(after)
        frozen = self.autoreset_mode is AutoresetMode.DISABLED
        ended_B = self._terminated_B if frozen else None
        self._terminated_B, self._truncated_B = is_over(self.space, after, self.keys, ended_B)
        self.over_B = self._terminated_B | self._truncated_B
        return self._pay(before.num_actions_B, actions_B, resting_B)

    def episodes(self, log_probs_BT: Tensor | None = None, policy_version: int = 0) -> Trajectories:
        """What was typed in every row since it last started, on the env's device.

        Args:
            log_probs_BT: float, a column for each action of the log, the prefix's included; may be
                wider or narrower than it, and hold anything on padding. None: zeros.
            policy_version: the version that typed it.

        Returns:
            trajectories trimmed to the widest row; with the rewards of each action, where there is
            a reward or a step penalty, and with prompts, where reset got any. A row's rewards sum
            to what `step` paid; those given per action stand where they were earned.
        """
        return self._log.trajectories(
            self.tape,
            self._terminated_B,
            has_prompts=self._has_prompts,
            policy_version=policy_version,
            log_probs_BT=log_probs_BT,
        )

    def render(self) -> tuple[str, ...] | None:
        """What was typed in every row, what was rubbed out struck through: see SequenceEnv."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() without a render_mode: pass render_mode='ansi'")
            return None
        tape = replay(self.space, self.episodes())
        written = (tape.depths_BN > 0).sum(1).tolist()
        rows = zip(tape.tokens_BN.tolist(), tape.path_BD.tolist(), strict=True)
        texts = []
        for row, (tokens, path) in enumerate(rows):
            alive = path[: int(self.tape.length_B[row]) + 1]
            stands = [node in alive for node in range(1, written[row] + 1)]
            texts.append(strike_through(tokens[1 : written[row] + 1], stands, self._decode))
        return tuple(texts)

    def _pay(self, columns_B: Tensor, actions_B: Tensor, resting_B: Tensor) -> Tensor:
        """Log one step, and say what it earned: float32 [B]."""
        rewards_B = torch.full(columns_B.shape, 0.0 - self._step_penalty, device=self.device)
        if self._step_penalty:
            rewards_B.masked_fill_(resting_B, 0)
        self._log.write(columns_B, actions_B, rewards_B)
        if self._reward is None:
            return rewards_B
        finished_R = (self.over_B & ~resting_B).nonzero().squeeze(1)
        if len(finished_R) == 0:
            return rewards_B
        finished = self._log.trajectories(
            self.tape, self._terminated_B, has_prompts=self._has_prompts, rows_R=finished_R
        )
        earned_RT = judge(self._reward, finished)
        self._log.add_rewards(finished_R, earned_RT)
        return rewards_B.index_add(0, finished_R, earned_RT.sum(1))

    def _observations(self) -> dict[str, Tensor]:
        tape = self.tape
        return {"tokens": tape.tokens_BL, "length": tape.length_B, "steps": tape.num_actions_B}

    def _info(self, rows_B: Tensor | None = None) -> dict[str, Tensor]:
        """What is legal, in the given rows (None: all), with Gymnasium's masks beside it."""
        legal = self.legality
        info = {
            "can_type": legal.token,
            "can_backspace": legal.backspace,
            "forbidden": legal.forbidden,
        }
        if self._action_mask:
            info["action_mask"] = self.space.mask(legal).to(torch.int8)
        if rows_B is not None:
            for key, value in info.items():
                info[key] = value.masked_fill(~rows_B.view(-1, *[1] * (value.ndim - 1)), 0)
        present_B = ~self._none_B if rows_B is None else rows_B
        return info | {f"_{key}": present_B for key in info}

    def _final(self) -> dict[str, Any]:
        """The last observations and infos of the rows that are over."""
        if self.output == "numpy" and not bool(self.over_B.any()):
            return {}
        observations: Any = self._give(self._observations())
        if self.output == "numpy":
            rows = np.full(self.num_envs, None, dtype=object)
            for row in self.over_B.nonzero().squeeze(1).tolist():
                rows[row] = {key: value[row] for key, value in observations.items()}
            observations = rows
        return {
            "final_obs": observations,
            "_final_obs": self._give(self.over_B),
            "final_info": self._give(self._info(self.over_B)),
            "_final_info": self._give(self.over_B),
        }

    def _give(self, value: Any) -> Any:
        return give(value, as_numpy=self.output == "numpy")
