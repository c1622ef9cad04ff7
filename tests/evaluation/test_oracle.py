"""The synthetic task: the authors' own oracle, and small ones whose entropy can be summed up."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from rubout.errors import UserError
from rubout.evaluation.nll import log_likelihoods, nll
from rubout.files import cached
from rubout.tape import survivors, written
from rubout.tasks.oracle import Oracle, OracleConfig
from rubout.types import Sequences

DATA = Path(__file__).parents[2].parent / "shared" / "data"
SMALL = OracleConfig(vocabulary=6, length=3, hidden=4, train=30, validation=20, test=3000, seed=5)


def seqgan_file(name: str) -> Path:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"the reference file {path} is not on this machine")
    return path


def test_the_authors_sample_under_the_authors_oracle() -> None:
    task = Oracle(OracleConfig(params=str(seqgan_file("seqgan_target_params.npz"))))
    with np.load(seqgan_file("seqgan_oracle_samples_9984x20.npz")) as file:
        tokens = torch.from_numpy(file["tokens"].astype(np.int64))
    lengths = torch.full((len(tokens),), 20)
    estimate = nll(task.oracle(), written(task.space, Sequences(tokens, lengths)))
    assert estimate.mean == pytest.approx(5.7609, abs=1e-4)
    assert estimate.count == 9984


def test_its_samples_cost_its_entropy() -> None:
    task = Oracle(SMALL)
    every = torch.tensor(list(itertools.product(range(6), repeat=3)))
    text = written(task.space, Sequences(every, torch.full((len(every),), 3)))
    logs = log_likelihoods(task.oracle(), text)
    assert float(logs.exp().sum()) == pytest.approx(1, abs=1e-5)
    entropy = -float((logs.exp() * logs).sum()) / 3
    estimate = nll(task.oracle(), task.split("test"))
    assert estimate.count == 3000
    assert 0 < estimate.standard_error < 0.02
    assert abs(estimate.mean - entropy) < 3 * estimate.standard_error


def test_it_starts_from_token_0() -> None:
    policy = Oracle(SMALL).oracle()
    weights = policy.embedding.weight
    assert weights.shape == (7, 4)
    assert weights[policy.space.start_id].equal(weights[0])
    assert not any(parameter.requires_grad for parameter in policy.parameters())


def test_splits_are_drawn_once(tmp_path: Path) -> None:
    task = Oracle(SMALL)
    train = task.split("train")
    files = sorted((tmp_path / "cache").glob("oracle-*.npy"))
    assert len(files) == 1
    assert len(train) == 30
    tokens = survivors(task.space, train).tokens_BL
    assert np.load(files[0]).tolist() == tokens.tolist()
    np.save(files[0], np.zeros((2, 3), np.int32))  # what is there is what is read
    assert Oracle(SMALL).split("train").actions_BT.tolist() == [[0] * 3] * 2
    assert not task.split("validation").actions_BT[:20].equal(tokens[:20])
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_the_seed_makes_oracle_and_data() -> None:
    other = Oracle(OracleConfig(**{**vars(SMALL), "seed": 6}))
    ours = Oracle(SMALL)
    assert not ours.oracle().head.weight.equal(other.oracle().head.weight)
    assert not ours.split("train").actions_BT.equal(other.split("train").actions_BT)
    again = Oracle(SMALL)
    assert ours.oracle().head.weight.equal(again.oracle().head.weight)


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Oracle(SMALL).split("train").actions_BT
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("RUBOUT_CACHE", str(tmp_path / "file"))
    assert Oracle(SMALL).split("train").actions_BT.equal(expected)


def test_cached() -> None:
    calls = []

    def make() -> np.ndarray:
        calls.append(1)
        return np.arange(3)

    keys = [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 3}]
    for key in keys:
        assert cached("kind", key, make).tolist() == [0, 1, 2]
    assert len(calls) == 2, "the order of a key's parts is nothing, their values are all"


@pytest.mark.parametrize("content", [None, b"no archive", "lacking"])
def test_a_file_that_is_no_oracle(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "params.npz"
    if content == "lacking":
        np.savez(path, embedding=np.zeros((3, 2)))
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(UserError, match="no such file" if content is None else "is not an oracle"):
        Oracle(OracleConfig(params=str(path)))


def test_sizes_are_positive() -> None:
    with pytest.raises(UserError, match=r"task.test must be at least 1"):
        Oracle(OracleConfig(test=0))
