"""The synthetic Turing test: sequences drawn from a random LSTM, whose log-probability is known.

Source: SeqGAN (Yu et al. 2017). Every parameter of the oracle is N(0, 1); it starts from zero state
and the embedding of token 0; 5,000 tokens, 20 of them a sequence, no `<eos>`. `params` loads the
authors' own oracle; without it one is made from `seed`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from rubout.errors import UserError
from rubout.files import cached
from rubout.policies.lstm import LSTMConfig, LSTMPolicy
from rubout.rollout.draw import seed_of
from rubout.rollout.sampler import Request, Sampler
from rubout.tape import survivors, written
from rubout.task import Split, Task
from rubout.tasks.codecs import IdsCodec
from rubout.types import ActionSpace, Sequences, Trajectories

_GATES = ("i", "f", "c", "og")  # torch's order: input, forget, cell, output
_BATCH = 2500
_DRAW = 2  # counts up where the same seed comes to draw other sequences


@dataclass(frozen=True)
class OracleConfig:
    """Options of the oracle task."""

    params: Path | None = None
    """SeqGAN's own oracle, an .npz file; then `vocabulary` and `hidden` are those of the file."""
    vocabulary: int = 5000
    """Tokens."""
    length: int = 20
    """Tokens a sequence."""
    hidden: int = 32
    """Width of the oracle's embedding and of its hidden state."""
    train: int = 10_000
    """Training sequences."""
    validation: int = 5_000
    """Validation sequences."""
    test: int = 10_000
    """Test sequences."""
    seed: int = 0
    """Makes the oracle, if it is not loaded, and draws the sequences."""


class Oracle(Task):
    """See the module."""

    Config = OracleConfig

    def __init__(self, config: OracleConfig) -> None:
        for name in ("vocabulary", "length", "hidden", "train", "validation", "test"):
            if getattr(config, name) < 1:
                raise UserError(f"task.{name} must be at least 1")
        if config.seed < 0:
            raise UserError("task.seed must not be negative")
        self.config = config
        arrays = _load(config.params) if config.params else _draw(config)
        self._policy = _policy(arrays, config.length)
        self.space: ActionSpace = self._policy.space
        self.codec = IdsCodec(self.space.num_tokens)
        self._tokens: dict[Split, np.ndarray] = {}

    def oracle(self) -> LSTMPolicy:
        """The true distribution."""
        return self._policy

    def count(self, name: Split) -> int:
        """See `Task.count`."""
        number: int = getattr(self.config, name)
        return number

    def split(self, name: Split) -> Trajectories:
        """See `Task.split`. Drawn once and kept, here and in the user's cache folder."""
        if name not in self._tokens:
            self._tokens[name] = self._read_or_draw(name)
        tokens_BL = torch.from_numpy(self._tokens[name]).long()
        lengths_B = torch.full((len(tokens_BL),), self.config.length)
        return written(self.space, Sequences(tokens_BL, lengths_B))

    def _read_or_draw(self, name: Split) -> np.ndarray:
        key: dict[str, object] = {**asdict(self.config), "split": name, "draw": _DRAW}
        key["torch"] = torch.__version__
        if self.config.params:
            key["params"] = Path(self.config.params).read_bytes()
        return cached("oracle", key, lambda: self._draw_split(name))

    def _draw_split(self, name: Split) -> np.ndarray:
        request = Request(seed_of(self.config.seed, "oracle", name), 0, self.count(name))
        sampler = Sampler(self._policy)
        parts = [survivors(self.space, sampler.sample(part)) for part in request.split(_BATCH)]
        return Sequences.cat(parts).tokens_BL.numpy().astype(np.int32)


def _draw(config: OracleConfig) -> dict[str, np.ndarray]:
    """Every parameter N(0, 1), in the order of SeqGAN's own file."""
    rng = np.random.default_rng(config.seed)
    width, vocabulary = config.hidden, config.vocabulary
    arrays = {"embedding": rng.standard_normal((vocabulary, width))}
    for gate in ("i", "f", "og", "c"):
        arrays[f"w{gate}"] = rng.standard_normal((width, width))
        arrays[f"u{gate}"] = rng.standard_normal((width, width))
        arrays[f"b{gate}"] = rng.standard_normal(width)
    arrays["wo"] = rng.standard_normal((width, vocabulary))
    arrays["bo"] = rng.standard_normal(vocabulary)
    return arrays


def _load(path: Path) -> dict[str, np.ndarray]:
    if not Path(path).is_file():
        raise UserError(f"task.params: no such file: {path}")
    wanted = ["embedding", "wo", "bo", *(f"{kind}{gate}" for kind in "wub" for gate in _GATES)]
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in wanted}
        _check_shapes(arrays)
        return arrays
    except Exception as error:
        raise UserError(f"task.params: {path} is not an oracle's .npz file: {error}") from error


def _check_shapes(arrays: dict[str, np.ndarray]) -> None:
    vocabulary, width = arrays["embedding"].shape
    (hidden,) = arrays["bi"].shape
    shapes = {"w": (width, hidden), "u": (hidden, hidden), "b": (hidden,)}
    expected = {f"{kind}{gate}": shapes[kind] for kind in shapes for gate in _GATES}
    expected |= {"wo": (hidden, vocabulary), "bo": (vocabulary,)}
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} has shape {arrays[name].shape}, not {shape}")


def _policy(arrays: dict[str, np.ndarray], length: int) -> LSTMPolicy:
    """The arrays use row vectors (x @ W); torch multiplies by the transpose."""
    vocabulary, width = arrays["embedding"].shape
    space = ActionSpace(vocabulary, length, eos=False)
    policy = LSTMPolicy(space, LSTMConfig(embedding=width, hidden=arrays["wo"].shape[0]))
    embedding = np.concatenate([arrays["embedding"], arrays["embedding"][:1]])
    state = {
        "embedding.weight": embedding,  # the start symbol looks like token 0
        "lstm.weight_ih_l0": np.concatenate([arrays[f"w{gate}"].T for gate in _GATES]),
        "lstm.weight_hh_l0": np.concatenate([arrays[f"u{gate}"].T for gate in _GATES]),
        "lstm.bias_ih_l0": np.concatenate([arrays[f"b{gate}"] for gate in _GATES]),
        "lstm.bias_hh_l0": np.zeros(4 * arrays["wo"].shape[0]),
        "head.weight": arrays["wo"].T,
        "head.bias": arrays["bo"],
    }
    tensors = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in state.items()}
    policy.load_state_dict(tensors)
    return policy.eval().requires_grad_(requires_grad=False)
