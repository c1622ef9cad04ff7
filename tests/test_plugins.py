"""From names to classes, and what is said when there is none."""

import sys
from pathlib import Path

import pytest

from learners.mle import MLE
from rubout import plugins
from rubout.errors import UserError
from rubout.options import build_policy, build_reward
from rubout.policies.lstm import LSTMPolicy
from rubout.tasks.codecs import CharCodec
from rubout.tasks.python_docs import PythonDocs
from rubout.types import ActionSpace

OWN = """
from dataclasses import dataclass
from abc import ABC
import torch
from learners.mle import MLE
from rubout.reward import Reward

@dataclass(frozen=True)
class Options:
    scale: float = 2.0

class Mine(MLE):
    pass

class Half(Reward, ABC):
    Config = Options

class Whole(Half):
    def __call__(self, trajectories):
        words = self.codec.decode([0, 2]) if self.codec else ""
        return torch.ones(len(trajectories)) * self.config.scale + len(words)

def a_function():
    pass
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own, and one that does not import."""
    (tmp_path / "own_plugins.py").write_text(OWN)
    (tmp_path / "broken_plugins.py").write_text("import a_module_that_is_not_there\n")
    (tmp_path / "raising_plugins.py").write_text("raise ValueError('first line\\nsecond line')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("own_plugins", "broken_plugins", "raising_plugins"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "own_plugins"


def test_short_names() -> None:
    assert plugins.find("learner", "mle") is MLE
    assert plugins.find("policy", "lstm") is LSTMPolicy
    assert plugins.find("task", "python-docs") is PythonDocs
    assert plugins.find("task", "python_docs") is PythonDocs
    assert {"mle", "psi_mle"} <= set(plugins.names("learner"))
    assert {"lstm", "transformer"} <= set(plugins.names("policy"))
    assert {"oracle", "text", "arithmetic", "python_docs"} <= set(plugins.names("task"))
    assert plugins.names("reward") == []
    assert "discriminators" not in plugins.names("learner"), "a helper is no learner"


def test_every_short_name_is_found() -> None:
    for kind in ("learner", "policy", "task"):
        for name in plugins.names(kind):
            assert plugins.find(kind, name)


def test_ones_own(own: str) -> None:
    assert issubclass(plugins.find("learner", f"{own}:Mine"), MLE)
    space = ActionSpace(3, 3)
    reward = build_reward(f"{own}:Whole", {}, space, None)
    assert (reward.space, reward.codec) == (space, None)
    assert reward([1, 2]).tolist() == [2.0, 2.0]  # type: ignore[arg-type]
    reward = build_reward(f"{own}:Whole", {"scale": 0.5}, space, CharCodec("xyz"))
    assert reward([1, 2]).tolist() == [2.5, 2.5], "it reads the options and the codec"  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"unknown option reward\.scales \(did you mean scale\?\)"):
        build_reward(f"{own}:Whole", {"scales": 0.5}, space, None)
    assert plugins.resolve(f"{own}:Mine") is plugins.find("learner", f"{own}:Mine")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("learner", "psi_mlee", r"unknown learner 'psi_mlee' \(did you mean psi_mle\?\)"),
        ("policy", "lstn", r"did you mean lstm\?"),
        ("task", "python-dogs", r"did you mean python_docs\?"),
        ("learner", "xyzzy", r"\(known: .*mle.*\); your own is named as module:Class"),
        ("reward", "bleu", r"unknown reward 'bleu'; your own is named as module:Class"),
        ("learner", "own_plugins:Mime", r"own_plugins has no Mime \(did you mean Mine\?\)"),
        ("learner", "own_plugins:Whole", r"not a subclass of rubout\.learner\.Learner"),
        ("learner", "own_plugins:a_function", r"not a subclass of rubout\.learner\.Learner"),
        ("reward", "own_plugins:Half", r"does not define __call__"),
        ("learner", "rubout.learner:Learner", r"does not define optimizers, update"),
        ("learner", "nowhere_plugins:Mine", r"nowhere_plugins does not import: ModuleNotFoundErr"),
        ("task", "broken_plugins:Mine", r"broken_plugins does not import: .*is_not_there"),
        ("task", "raising_plugins:Mine", r"does not import: ValueError: first line$"),
    ],
)
@pytest.mark.usefixtures("own")
def test_mistakes(kind: plugins.Kind, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plugins.find(kind, name)


def test_a_module_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short name stands for the only class of its file."""
    import learners.mle

    other = type("Other", (MLE,), {"__module__": "learners.mle"})
    monkeypatch.setattr(learners.mle, "Other", other, raising=False)
    with pytest.raises(UserError, match=r"learners\.mle defines 2 classes of Learner"):
        plugins.find("learner", "mle")


def test_a_policy_is_built_with_its_options() -> None:
    policy = build_policy("lstm", {"hidden": 5, "layers": 2}, ActionSpace(3, 3))
    assert isinstance(policy, LSTMPolicy)
    assert (policy.config.hidden, policy.config.layers) == (5, 2)
    with pytest.raises(UserError, match=r"unknown option policy\.hiddn \(did you mean hidden\?\)"):
        build_policy("lstm", {"hiddn": 5}, ActionSpace(3, 3))


def test_what_a_file_imports_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    import learners.psi_mle

    monkeypatch.setattr(learners.psi_mle, "MLE", MLE, raising=False)
    assert plugins.find("learner", "psi_mle") is learners.psi_mle.PsiMLE
