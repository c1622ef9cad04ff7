"""The parts of a run, and what the loop asks of them."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rubout.errors import UserError
from rubout.evaluation.draws import draw, head, sample_records
from rubout.evaluation.nll import nll
from rubout.evaluation.truth import nll_oracle
from rubout.files import replacing, room_for
from rubout.learner import Learner
from rubout.noise import inject
from rubout.rollout.draw import seed_of, uniforms
from rubout.rollout.sampler import Request
from rubout.rollout.source import RolloutSource
from rubout.task import Split, Task
from rubout.training import checkpoint
from rubout.training.checkpoint import RunState
from rubout.training.config import TrainConfig
from rubout.training.data import Batches, Splits
from rubout.training.gather import gather
from rubout.training.run_folder import RESUME, RunFolder
from rubout.types import Sequences, Trajectories

Record = dict[str, Any]


class Run:
    """One learner, its data, its rollouts and its folder.

    Args:
        config: the options.
        folder: written by rank 0 alone.
        task: where real sequences come from.
        learner: on its device, in its group.
        rollouts: who generates.
        report: called on rank 0 with every record that goes into metrics.jsonl.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        task: Task,
        learner: Learner,
        rollouts: RolloutSource,
        report: Callable[[Record], None],
    ) -> None:
        self.config, self.folder, self.task, self.learner = config, folder, task, learner
        self._rollouts, self._report = rollouts, report
        self.group, self.device = learner.context.group, learner.context.device
        rank, size = self.group.rank, self.group.size
        self._splits = Splits(task)
        self.batches = Batches(self._splits["train"], config.batch_size, config.seed, rank, size)
        self._asked: set[int] = set()
        self._published = -1

    def ask(self, update: int, version: int) -> None:
        """Ask for this rank's part of an update's rollouts, once, under the present weights.

        Args:
            update: which will consume them.
            version: of the weights, that is updates done.
        """
        # Those just after the last update as well: the run may be resumed with more updates, and
        # they must then be those of the weights that a longer run would have had at this moment.
        asked = update < self.config.updates + self.config.staleness
        demand = self.learner.demand(update)
        count = demand.rollouts if asked else 0
        if not count or update in self._asked:
            return
        if version != self._published:
            self._rollouts.publish(version, self.learner.published())
            self._published = version
        self._asked.add(update)
        share, rest = divmod(count, self.group.size)
        if rest:
            raise UserError(
                f"the learner asks for {count} rollouts, which do not divide over "
                f"{self.group.size} learner workers"
            )
        request = Request(
            seed=seed_of(self.config.seed, "rollout", update),
            first=self.group.rank * share,
            count=share,
            **self._beginnings(update, share, demand.prefix),
            paid=demand.paid,
            completions=demand.completions,
            every=demand.every,
        )
        self._rollouts.request(update, request)

    def collect(self, update: int) -> Trajectories | None:
        """What was asked for, on the learner's device."""
        if update not in self._asked:
            return None
        self._asked.remove(update)
        return self._rollouts.collect(update).to(self.device)

    def data(self, update: int) -> Trajectories:
        """This rank's part of an update's expert sequences, with the slips the learner asks for."""
        data = self.batches.batch(update)
        noise = self.learner.demand(update).noise
        if noise.rate > 0:
            # By row of the group's batch: the same slips however the batch is split.
            rows = torch.arange(len(data)) + self.group.rank * len(data)
            places_BT = rows.unsqueeze(1) * 2**20 + torch.arange(data.actions_BT.shape[1])
            seed = seed_of(self.config.seed, "noise", update)
            chances_BT, which_BT = (uniforms(seed, places_BT, draw) for draw in range(2))
            if noise.kind == "random":
                slips_BT = (which_BT * self.task.space.num_tokens).long()
            else:
                slips_BT = self.task.slips(data, which_BT)
            data = inject(self.learner.context.space, data, noise, chances_BT, slips_BT)
        return data.to(self.device)

    def reseed(self, update: int) -> None:
        """Every global generator, from the update's number: there is no state to save."""
        seed = seed_of(self.config.seed, "update", update, self.group.rank)
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)

    def check_finite(self, update: int, metrics: dict[str, float]) -> None:
        """Stop a run that has diverged; its last checkpoint stays.

        Raises:
            UserError: a metric is not a finite number.
        """
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise UserError(
                    f"{name} is {value} at update {update}: the run has diverged; "
                    f"a lower --learner.lr may help"
                )

    def about(self, update: int, rollouts: Trajectories | None) -> dict[str, float]:
        """Metrics of the rollouts themselves."""
        if rollouts is None:
            return {}
        typed = rollouts.num_actions_B.float()
        space = self.learner.context.space
        found = {
            "rollout/actions": float(typed.mean()),
            "rollout/terminated": float(rollouts.terminated_B.float().mean()),
            "rollout/staleness": update - float(rollouts.policy_version_B.float().mean()),
        }
        if space.backspace:
            deletions = (rollouts.mask_BT & (rollouts.actions_BT == space.backspace_id)).sum()
            found["rollout/backspaces"] = float(deletions / rollouts.num_actions_B.sum())
        if rollouts.rewards_BT is not None:
            found["rollout/reward"] = float(rollouts.rewards_BT.sum(1).mean())
        for name, values_B in (rollouts.reports or {}).items():
            found[f"rollout/reward/{name}"] = float(values_B.mean())
        if rollouts.value_errors_BT is not None:
            errors = rollouts.value_errors_BT[rollouts.mask_BT]
            found["rollout/value_variance"] = float(errors.square().mean())
        return found

    def standing(self, update: int) -> dict[str, float]:
        """How far the run has come, and what the whole group has lost on the way; all ranks ask."""
        losses = self._rollouts.losses
        lost = torch.tensor([losses.requests, losses.restarts], dtype=torch.float64)
        requests, deaths = self.group.sum(lost.to(self.device)).tolist()
        found = {"epoch": self.batches.epoch(update)}
        if requests:
            found |= {"rollout/lost_requests": requests, "rollout/actor_deaths": deaths}
        return found

    def log(self, kind: str, update: int, values: dict[str, float]) -> None:
        """One record, written before it is shown."""
        if self.group.rank:
            return
        record = {"update": update, "kind": kind, "time": round(time.time(), 3), **values}
        self.folder.append_metrics(record)
        self._report(record)

    def evaluate(self, state: RunState) -> RunState:
        """Score validation and test data, write samples; rank 0 does it, all learn the figure."""
        values: dict[str, float] = {}
        if self.group.rank == 0:
            values = self._figures(state.update)
            self.log("evaluation", state.update, values)
        figure = torch.tensor(values.get("nll_validation", 0.0), dtype=torch.float64)
        score = float(self.group.sum(figure.to(self.device)))
        if state.best_nll is None or score < state.best_nll:
            return replace(
                state,
                validation_nll=score,
                best_nll=score,
                best_update=state.update,
                stale_evaluations=0,
            )
        stale = state.stale_evaluations + 1
        return replace(state, validation_nll=score, stale_evaluations=stale)

    def save(self, state: RunState) -> None:
        """Write a checkpoint, with whatever was generated ahead."""
        pending = {}
        # With staleness 0 they can be asked for again under the same weights. A group's other
        # ranks keep none: theirs are generated anew after an interruption, under newer weights.
        ahead = self.config.staleness > 0 and self.group.size == 1
        for update in sorted(self._asked) if ahead else []:
            pending[update] = self._rollouts.collect(update)
            self._rollouts.restore(update, pending[update])
        space = self.learner.context.space
        widest = max(space.action_limit, space.max_length)
        held = self.learner.memory().items()
        memory = {name: gather(self.group, part, widest) for name, part in held}
        if self.group.rank:
            return
        state = replace(state, learner=self.learner.state())
        folder = self.folder.checkpoints
        checkpoint.save(folder, state, self.learner, pending, memory, space.size)
        checkpoint.prune(folder, self.config.keep)

    def restore(self, pending: dict[int, Trajectories], memory: dict[str, Trajectories]) -> None:
        """Take back what was generated before an interruption."""
        for update, rollouts in pending.items():
            self._asked.add(update)
            self._rollouts.restore(update, rollouts)
        rank, size = self.group.rank, self.group.size
        self.learner.load_memory(
            {
                name: whole[rank * len(whole) // size : (rank + 1) * len(whole) // size].to(
                    self.device
                )
                for name, whole in memory.items()
            }
        )

    def _beginnings(self, update: int, share: int, prefix: int) -> dict[str, Sequences]:
        """Rollouts start from the prompts of the data they are compared with, row by row.

        And from their first `prefix` actions, where the learner asks for that.
        """
        data = self.batches.batch(update)
        found = {} if data.prompts is None else {"prompts": data.prompts}
        if prefix:
            lengths_B = (data.num_actions_B - 1).clamp(max=prefix)
            starts = Sequences(data.actions_BT[:, : int(lengths_B.max())], lengths_B)
            tokens_BL = starts.tokens_BL.masked_fill(~starts.mask_BL, 0)
            found["prefixes"] = replace(starts, tokens_BL=tokens_BL)
        if found and share % len(data):
            raise UserError(
                f"the learner asks for {share} rollouts that begin as {len(data)} sequences do: "
                f"it must be a multiple"
            )
        rows = torch.arange(len(data)).repeat_interleave(max(1, share // len(data)))
        return {name: part[rows] for name, part in found.items()}

    def _figures(self, update: int) -> dict[str, float]:
        config, policy = self.config, self.learner.policy
        most = config.evaluate_sequences
        values = {}
        names: tuple[Split, ...] = ("validation", "test")
        for name in names:
            values[f"nll_{name}"] = nll(policy, head(self._splits[name], most)).mean
        asked = head(self._splits["validation"], max(config.samples, 1)).prompts
        count = config.samples if asked is None else min(config.samples, len(asked))
        oracle = self.task.oracle()
        if oracle is not None:
            count = max(count, most or 1000)
        if count:
            drawn = draw(policy, count, config.seed, asked)
            if oracle is not None:
                values["nll_oracle"] = nll_oracle(oracle, policy.space, drawn).mean
            self._write_samples(update, drawn[: config.samples])
        return values

    def _write_samples(self, update: int, drawn: Trajectories) -> None:
        records = sample_records(self.learner.policy, self.task.codec, drawn)
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        path = self.folder.samples / f"update-{update:08d}.jsonl"
        with room_for(path, RESUME):
            self.folder.samples.mkdir(exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_text("".join(lines), encoding="utf-8")
