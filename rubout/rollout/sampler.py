"""A policy stepping a vectorised env: where every sequence is generated."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rubout.keys import blank, press
from rubout.plugins import resolve
from rubout.policy import Generation, Policy
from rubout.reward import Reward
from rubout.rollout.completions import Completions
from rubout.rollout.draw import draw, step_by_step
from rubout.types import Sequences, Trajectories

RewardFunction = Callable[[Trajectories], Tensor]

_BATCHES_A_SHARE = 8  # at most: what is lost with an actor is typed again


@dataclass(frozen=True)
class EnvConfig:
    """How sequences are typed."""

    backspace: bool = False
    """Add an action that rubs out the last token."""
    max_actions: int | None = None
    """Most actions in an episode, deletions included (default: enough to fill the tape, and twice
    that with a backspace)."""
    max_backspaces: int | None = None
    """Most deletions in an episode (default: no limit of their own)."""
    forbid_redo: bool = False
    """Forbid to type again at once the token just rubbed out."""
    step_penalty: float = 0.0
    """Taken from the reward at every action."""


@dataclass(frozen=True, slots=True)
class Request:
    """Some of the sequences of one draw.

    Attributes:
        seed: names the draw; with a sequence's number it fixes every choice.
        first: number of the first sequence.
        count: how many.
        prompts: theirs, or None.
        prefixes: action ids that were typed before the policy goes on, one row a sequence; unlike
            a prompt they can be rubbed out, and they count. None: the policy begins.
        paid: whether the reward judges them.
        completions: Monte-Carlo completions of every prefix of each sequence, for its action
            values; 0: none.
        every: they begin only after so many actions, and their multiples.
    """

    seed: int
    first: int
    count: int
    prompts: Sequences | None = None
    prefixes: Sequences | None = None
    paid: bool = True
    completions: int = 0
    every: int = 1

    def split(self, size: int) -> list[Request]:
        """The same request in parts of at most `size` sequences."""
        return [self._part(start, size) for start in range(0, self.count, size)]

    def shares(self, batch: int, actors: int, *, last: bool = True) -> list[Request]:
        """The same request in parts for some actors, of one or several batches each.

        Large ones, since every part costs whoever hands it out the same; where nothing comes after
        them large ones first and single batches last, so that all actors end together (guided
        self-scheduling: Polychronopoulos and Kuck 1987).

        Args:
            batch: sequences.
            actors: among whom the parts are shared.
            last: whether nothing comes after them.
        """
        parts, start = [], 0
        while start < self.count:
            shared = self.count - start if last else self.count
            batches = math.ceil(shared / batch) // (2 * actors)
            size = batch * min(_BATCHES_A_SHARE, max(1, batches))
            parts.append(self._part(start, size))
            start += size
        return parts

    def _part(self, start: int, size: int) -> Request:
        """At most `size` of the sequences, from number `start` of the request's on."""
        end = min(start + size, self.count)
        given = (self.prompts, self.prefixes)
        rows = [None if part is None else part[start:end] for part in given]
        return replace(
            self, first=self.first + start, count=end - start, prompts=rows[0], prefixes=rows[1]
        )


class Sampler:
    """Types whole batches in lock-step, without gradients and without dropout."""

    def __init__(
        self,
        policy: Policy,
        reward: RewardFunction | None = None,
        step_penalty: float = 0.0,
        device: torch.device | str = "cpu",
        judge: nn.Module | None = None,
    ) -> None:
        self.policy = policy
        self._reward, self._step_penalty, self._judge = reward, step_penalty, judge
        self._options: dict[str, Any] = {
            **asdict(policy.space),
            "step_penalty": step_penalty,
            "device": str(device),
            "autoreset_mode": "Disabled",
            "output": "torch",
        }
        self._device = torch.device(device)
        self._envs: dict[tuple[int, bool], Any] = {}

    def parts(self) -> dict[str, nn.Module]:
        """What takes published weights: the policy, and the judge, the reward that is trained."""
        return {"policy": self.policy} | ({} if self._judge is None else {"reward": self._judge})

    def sample_in_batches(self, request: Request, batch: int, policy_version: int) -> Trajectories:
        """Generate what a request asks for, at most `batch` sequences at a time; see `sample`."""
        parts = [self.sample(part, policy_version=policy_version) for part in request.split(batch)]
        return Trajectories.cat(parts)

    @torch.no_grad()
    def sample(
        self,
        request: Request,
        temperature: float = 1.0,
        policy_version: int = 0,
        suppress: tuple[int, ...] = (),
    ) -> Trajectories:
        """Generate what a request asks for.

        Args:
            request: which sequences of which draw.
            temperature: divides the logits; log-probabilities are those of what was drawn from.
            policy_version: noted on the result.
            suppress: actions never drawn.

        Returns:
            trajectories on the sampler's device; with action values where completions are asked
            for, and with what the reward reports.

        Raises:
            ValueError: the temperature is not positive and finite, or completions have no reward.
        """
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be positive and finite, not {temperature}")
        if request.completions and (self._reward is None or not request.paid):
            raise ValueError("completions need a reward")
        training = self.policy.training
        self.policy.eval()
        try:
            return self._type(request, temperature, policy_version, list(suppress))
        finally:
            self.policy.train(training)

    def _type(
        self, request: Request, temperature: float, version: int, suppress: list[int]
    ) -> Trajectories:
        env = self._env(request.count, self._reward if request.paid else None)
        given = {"prompt": request.prompts, "prefix": request.prefixes}
        env.reset(options={name: rows for name, rows in given.items() if rows is not None})
        generation = self.policy.start(request.count, request.prompts)
        if request.prefixes is not None:
            self._follow(generation, request.prompts, request.prefixes)
        completions = self._completions(request, temperature, suppress)
        numbers = torch.arange(request.count, device=self._device) + request.first
        log_probs: list[Tensor] = []
        uniforms = step_by_step(request.seed, numbers)
        while len(going := (~env.over_B).nonzero().squeeze(1)):
            rows, legality, uniforms_M = None, env.legality, next(uniforms)
            if len(going) < request.count:
                rows, legality, uniforms_M = going, legality[going], uniforms_M[going]
            drawn = draw(
                self.policy.space, generation, rows, legality, uniforms_M, temperature, suppress
            )
            actions_B, log_probs_B = (_spread(part, rows, request.count) for part in drawn)
            log_probs.append(log_probs_B)
            env.advance(actions_B)
            generation.step(actions_B, env.keys)
            if completions is not None:
                completions.branch(generation, env.tape, env.episodes(), ~env.over_B)
        typed_BT = torch.stack(log_probs, dim=1)
        if request.prefixes is not None:  # which have a column each, and no log-probability
            lengths_B1 = request.prefixes.lengths_B.to(self._device).unsqueeze(1)
            steps_T = torch.arange(typed_BT.shape[1], device=self._device)
            width = int(lengths_B1.max()) + typed_BT.shape[1]
            typed_BT = typed_BT.new_zeros(request.count, width).scatter(
                1, lengths_B1 + steps_T, typed_BT
            )
        episodes: Trajectories = env.episodes(typed_BT, version)
        if request.paid and isinstance(self._reward, Reward):
            episodes = replace(episodes, reports=self._reward.report(episodes) or None)
        return episodes if completions is None else completions.values(episodes)

    def _completions(
        self, request: Request, temperature: float, suppress: list[int]
    ) -> Completions | None:
        if not request.completions:
            return None
        assert self._reward is not None
        return Completions(
            self.policy.space,
            copies=request.completions,
            every=request.every,
            seed=request.seed,
            first=request.first,
            reward=self._reward,
            step_penalty=self._step_penalty,
            temperature=temperature,
            suppress=suppress,
        )

    def _follow(
        self, generation: Generation, prompts: Sequences | None, prefixes: Sequences
    ) -> None:
        """Bring a generation to where its prefixes end."""
        space = self.policy.space
        state = blank(space, len(prefixes), prompts, self._device)
        keys_BP = prefixes.tokens_BL.to(self._device)
        for step in range(keys_BP.shape[1]):
            active_B = step < prefixes.lengths_B.to(self._device)
            state, keys = press(space, state, keys_BP[:, step], active_B)
            generation.step(keys_BP[:, step], keys)

    def _env(self, num_envs: int, reward: RewardFunction | None) -> Any:
        """An env is kept for every batch size seen: a run has one or two."""
        key = num_envs, reward is not None
        if key not in self._envs:
            make: Any = resolve("envs.vector_env:SequenceVectorEnv")
            self._envs[key] = make(num_envs, reward=reward, **self._options)
        return self._envs[key]


def _spread(values_M: Tensor, rows_M: Tensor | None, count: int) -> Tensor:
    """The values in their rows, 0 in the others; None: they are all there."""
    if rows_M is None:
        return values_M
    return values_M.new_zeros(count).index_copy(0, rows_M, values_M)
