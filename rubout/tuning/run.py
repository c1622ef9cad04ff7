"""A search by Ray Tune: trials in placement groups of their own, bad ones stopped early."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.tune
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter

from rubout.errors import UserError
from rubout.rollout.cluster import connect, machines
from rubout.search import (
    Asha,
    Choice,
    Domain,
    Integer,
    LogUniform,
    PopulationBased,
    Search,
    Uniform,
    Value,
)
from rubout.training.config import TrainConfig
from rubout.tuning.resources import Demand
from rubout.tuning.trial import number, run_trial

STATE = "ray"
_RETRIES = 1  # of a trial whose process died: it goes on from its own checkpoint
_KEPT = 6  # checkpoints of each trial that Tune keeps, so that others can still take them over


def run(
    search: Search,
    config: TrainConfig,
    out: Path,
    *,
    num_samples: int,
    max_concurrent: int,
    seed: int,
    resume: bool,
    loggers: Sequence[str] = (),
    tell: Callable[[str, str, Mapping[str, Any]], None],
) -> tuple[list[str], dict[str, str]]:
    """Run the trials.

    Args:
        search: what is searched; its base is what the trials run with.
        config: of one trial: what it takes of the machine, and how long it is.
        out: the search's folder, absolute; on several machines, one that all of them see.
        num_samples: trials.
        max_concurrent: trials at a time; 0: as many as fit.
        seed: of what is drawn.
        resume: go on with what the folder holds; whole trials are not run again.
        loggers: `wandb`, `mlflow`, besides CSV, JSON and TensorBoard.
        tell: called with a trial's number, what happened and its last result.

    Returns:
        numbers of the trials that the scheduler stopped, and of those that failed with their last
        error.

    Raises:
        UserError: no cluster answers, or a trial does not fit into it.
    """
    connect(config.address)
    demand = Demand.of(config)
    fits = demand.fits(machines(), "the cluster")
    base = dict(search.base)
    gives_checkpoints = isinstance(search.scheduler, PopulationBased)

    def trainable(sample: dict[str, Value]) -> None:
        run_trial(sample, base, str(out), gives_checkpoints=gives_checkpoints)

    placed = ray.tune.with_resources(
        trainable, ray.tune.PlacementGroupFactory(_without_zeros(demand.bundles()))
    )
    state = out / STATE
    if resume and ray.tune.Tuner.can_restore(str(state)):
        tuner = ray.tune.Tuner.restore(str(state), placed, restart_errored=True)
    else:
        tuner = ray.tune.Tuner(
            placed,
            param_space={name: _domain(domain) for name, domain in search.space.items()},
            tune_config=ray.tune.TuneConfig(
                metric=search.metric,
                mode=search.mode,
                num_samples=num_samples,
                scheduler=_scheduler(search, config),
                search_alg=_searcher(search, seed, min(max_concurrent or fits, fits)),
                trial_dirname_creator=lambda trial: number(trial.trial_id),
            ),
            run_config=_run_config(out, [_Told(tell), *_loggers(loggers, out.name)]),
        )
    return _sorted_out(tuner.fit(), config.updates)


def _run_config(out: Path, callbacks: list[Any]) -> Any:
    return ray.tune.RunConfig(
        name=STATE,
        storage_path=str(out),
        verbose=0,
        callbacks=callbacks,
        failure_config=ray.tune.FailureConfig(max_failures=_RETRIES),
        checkpoint_config=ray.tune.CheckpointConfig(num_to_keep=_KEPT),
    )


def _sorted_out(results: Any, updates: int) -> tuple[list[str], dict[str, str]]:
    """Numbers of the trials that ended before their last update, and of the failed, with errors."""
    stopped: list[str] = []
    failed: dict[str, str] = {}
    for result in results:
        name = number(Path(result.path).name)
        if result.error is not None:
            failed[name] = str(result.error).strip().splitlines()[-1]
        elif (result.metrics or {}).get("update", 0) < updates:
            stopped.append(name)
    return sorted(stopped), failed


def _without_zeros(bundles: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    return [{kind: amount for kind, amount in bundle.items() if amount} for bundle in bundles]


def _domain(domain: Domain) -> Any:
    """As Tune draws it."""
    if isinstance(domain, Uniform):
        return ray.tune.uniform(domain.low, domain.high)
    if isinstance(domain, LogUniform):
        return ray.tune.loguniform(domain.low, domain.high)
    if isinstance(domain, Integer):
        return ray.tune.randint(domain.low, domain.high + 1)
    assert isinstance(domain, Choice)
    return ray.tune.choice(list(domain.values))


def _scheduler(search: Search, config: TrainConfig) -> Any:
    every = config.evaluate_every
    if isinstance(search.scheduler, Asha):
        return ASHAScheduler(
            time_attr="update",
            max_t=max(config.updates, 1),
            grace_period=min(search.scheduler.grace * every, config.updates),
            reduction_factor=search.scheduler.factor,
        )
    if isinstance(search.scheduler, PopulationBased):
        return PopulationBasedTraining(
            time_attr="update",
            perturbation_interval=search.scheduler.every * every,
            hyperparam_mutations={name: _domain(one) for name, one in search.space.items()},
            # Synchronous, Ray 2.60 may wait for ever: for trials that end while others pause.
            synch=False,
        )
    return None


def _searcher(search: Search, seed: int, at_once: int) -> Any:
    if search.searcher == "random":
        return BasicVariantGenerator(max_concurrent=at_once, random_state=seed)
    if importlib.util.find_spec("optuna") is None:
        raise UserError("searcher optuna is not installed: pip install 'rubout[optuna]'")
    from ray.tune.search.optuna import OptunaSearch

    return ConcurrencyLimiter(OptunaSearch(seed=seed), max_concurrent=at_once)


def _loggers(names: Sequence[str], project: str) -> list[Any]:
    """Besides those that Tune always has."""
    found: list[Any] = []
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"--loggers {name} is not installed: pip install 'rubout[{name}]'")
        if name == "wandb":
            from ray.air.integrations.wandb import WandbLoggerCallback

            found.append(WandbLoggerCallback(project=project))
        else:
            from ray.air.integrations.mlflow import MLflowLoggerCallback

            found.append(MLflowLoggerCallback(experiment_name=project))
    return found


class _Told(ray.tune.Callback):  # type: ignore[misc]
    """Tells what happens to each trial."""

    def __init__(self, tell: Callable[[str, str, Mapping[str, Any]], None]) -> None:
        self._tell = tell

    def on_trial_start(self, **about: Any) -> None:
        """See Tune."""
        self._pass("begins", about, about["trial"].config)

    def on_trial_result(self, **about: Any) -> None:
        """See Tune."""
        self._pass("evaluated", about, about["result"])

    def on_trial_complete(self, **about: Any) -> None:
        """See Tune."""
        self._pass("ends", about, about["trial"].last_result)

    def on_trial_error(self, **about: Any) -> None:
        """See Tune."""
        self._pass("failed", about, about["trial"].last_result)

    def _pass(self, what: str, about: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        self._tell(number(about["trial"].trial_id), what, result or {})
