"""With Ray or without: the same run. Programs of their own, so that pytest never imports ray."""

from __future__ import annotations

import pytest

from rubout.checks.common import same as same_bits
from rubout.cli.main import main
from rubout.training.checkpoint import last, load_memory

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PSI_MLE = (
    "--learner psi_mle --learner.lr 0.05 --learner.mle-updates 1 --learner.warmup 1 "
    "--learner.ratio-lr 0.01"
)
SEQUENCE_MATCH = (
    "--learner sequence_match --learner.lr 0.05 --learner.bc-updates 1 --learner.anneal-updates 1 "
    "--learner.sample-every 2 --learner.capacity 2 --learner.stride 2 --learner.noise.rate 0.2 "
    "--learner.alpha 0.5 --env.backspace"
)
SEQGAN = (
    "--learner seqgan --learner.lr 0.05 --learner.mle-updates 1 --learner.discriminator-warmup 1 "
    "--learner.discriminator-updates 1 --learner.discriminator-lr 0.01 --learner.completions 3 "
    "--learner.discriminator.embedding 8"
)
SMALL = (
    "--policy.hidden 8 --policy.embedding 8 --batch-size 8 --evaluate-every 1000 "
    "--checkpoint-every 1000 --samples 2 --rollout-batch 8 --log-every 1 --device cpu"
)


@pytest.fixture
def alone(text, tmp_path, capsys):
    """The same command in this process."""

    def alone(out: str, *words: str) -> None:
        assert main(["train", "--task", str(text), "--out", str(tmp_path / out), *words]) == 0

    return alone


@pytest.mark.parametrize("staleness", [0, 1])
def test_rollout_actors_change_nothing(command, finish, alone, same, tmp_path, staleness):
    words = [*PSI_MLE.split(), *SMALL.split(), "--policy.dropout", "0.3", "--updates", "8"]
    words += ["--staleness", str(staleness), "--env.backspace"]
    alone("alone", *words)
    out = finish(command("actors", *words, "--rollout-workers", "2"))
    assert "2 Ray actors" in out
    assert "lost:" not in out
    assert same(tmp_path / "alone", tmp_path / "actors")
    assert same(tmp_path / "alone", tmp_path / "actors", "ratio")


def test_rollouts_that_are_used_again_may_come_from_actors(command, finish, alone, same, tmp_path):
    words = [*SEQUENCE_MATCH.split(), *SMALL.split(), "--policy.dropout", "0.3", "--updates", "8"]
    alone("alone", *words)
    finish(command("actors", *words, "--rollout-workers", "2"))
    assert same(tmp_path / "alone", tmp_path / "actors")
    kept = [load_memory(last(tmp_path / name / "checkpoints")) for name in ("alone", "actors")]
    assert len(kept[0]) == 2
    assert same_bits(*kept)


def test_what_a_learner_trains_judges_alike_in_actors(command, finish, alone, same, tmp_path):
    """Completions and their verdicts come from actors; what they began goes on without them."""
    words = [*SEQGAN.split(), *SMALL.split(), "--policy.dropout", "0.3"]
    alone("alone", *words, "--updates", "9")
    finish(command("actors", *words, "--updates", "5", "--rollout-workers", "2"))
    out = str(tmp_path / "actors")
    again = ["--resume", "--updates", "9", "--rollout-workers", "0"]
    assert main(["train", "--out", out, *again]) == 0
    for name in ("policy", "discriminator"):
        assert same(tmp_path / "alone", tmp_path / "actors", name)


LEARNERS = {
    "mle": "--learner.lr 0.05",
    "psi_mle": f"{PSI_MLE} --learner.network.dropout 0",
    "sequence_match": SEQUENCE_MATCH,
}


@pytest.mark.parametrize("learner", LEARNERS)
def test_learner_workers_change_nothing(command, finish, alone, weights, tmp_path, learner):
    words = [*SMALL.split(), "--updates", "3", *LEARNERS[learner].split()]
    alone("driver", *words)
    for workers in (1, 2) if learner == "mle" else (2,):
        finish(command(f"workers-{workers}", *words, "--learner-workers", str(workers)))
        for name in ("policy", "ratio") if learner == "psi_mle" else ("policy",):
            single = weights(tmp_path / "driver", name)
            together = weights(tmp_path / f"workers-{workers}", name)
            assert single.keys() == together.keys()
            for key, value in single.items():
                # By tensor: where gradients all but vanish, Adam makes steps of their rounding.
                assert float((together[key] - value).norm()) <= 1e-5 * float(value.norm()), key
    if learner == "sequence_match":  # the whole group's rollouts, in the order of their ranks
        kept = [
            load_memory(last(tmp_path / name / "checkpoints"))["0"].actions_BT
            for name in ("driver", "workers-2")
        ]
        assert kept[0].equal(kept[1])


def test_what_a_rank_says_to_the_user_reaches_the_user(command, tmp_path):
    """A run that diverges on a learner worker ends like one that diverges here: a line, code 2."""
    words = [*SMALL.split(), "--updates", "3", "--learner.lr", "1e38", "--policy.init", "torch"]
    process = command("wild", *words, "--learner-workers", "1")
    out, err = process.communicate(timeout=240)
    assert process.returncode == 2, out + err
    assert "the run has diverged" in err.splitlines()[-1]
