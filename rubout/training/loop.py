"""The loop of one run, on a page.

The same loop runs in one process, in a driver with rollout actors, and on every rank of a Ray Train
worker group. Batches, rollouts and every random number are pure functions of the seed and the
update's number, so a run that was killed and resumed is the run that never was.
"""

from __future__ import annotations

from dataclasses import replace

from rubout.training.checkpoint import RunState
from rubout.training.meter import Meter
from rubout.training.run import Run


def train(run: Run, state: RunState) -> RunState:
    """Train from a state to the last update, or until early stopping.

    Args:
        run: the parts.
        state: where the run stands; its weights are already in the learner.

    Returns:
        the final state; the last checkpoint has it too, with the learner's own.
    """
    config, learner = run.config, run.learner
    for ahead in range(config.staleness + 1):
        run.ask(state.update + ahead, version=state.update)

    def is_stale(state: RunState) -> bool:
        return bool(config.patience) and state.stale_evaluations >= config.patience

    meter, stop = Meter(), is_stale(state)
    while state.update < config.updates and not stop:
        update = state.update
        data = run.data(update)
        rollouts = run.collect(update)
        run.reseed(update)
        metrics = learner.update(data, rollouts)
        run.check_finite(update, metrics)
        meter.add(metrics | run.about(update, rollouts))

        update += 1
        state = replace(state, update=update, validation_nll=None)
        run.ask(update + config.staleness, version=update)

        final = update == config.updates
        if update % config.log_every == 0 or final:
            run.log("train", update, meter.flush() | run.standing(update))
        if update % config.evaluate_every == 0:
            state = run.evaluate(state)
            stop = is_stale(state)
        elif final:  # off schedule: shown, but a longer run would not have seen it
            run.evaluate(state)
        improved = state.validation_nll is not None and state.best_update == update
        if update % config.checkpoint_every == 0 or improved or final or stop:
            run.save(state)
    return state
