"""What a command imports before it has to."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys

import pytest

from rubout.cli.quick import keeping_all

HEAVY = ("torch", "ray", "tyro", "rich", "numpy", "gymnasium", "tensorboardX")
LOADED = (
    "import sys; from rubout.cli.main import main; code = main({words!r}); "
    "print(code, *[name for name in {heavy!r} if name in sys.modules])"
)


def loaded(words: list[str], heavy: tuple[str, ...]) -> tuple[str, list[str]]:
    """The exit code of a command, and which of the modules it leaves imported."""
    line = [sys.executable, "-c", LOADED.format(words=words, heavy=heavy)]
    ended = subprocess.run(line, capture_output=True, text=True, check=True)
    code, *names = ended.stdout.splitlines()[-1].split()
    return code, names


@pytest.mark.parametrize("words", [[], ["--help"], ["--version"], ["trian"]])
def test_help_and_version_import_nothing_heavy(words):
    assert loaded(words, HEAVY) == ("2" if words == ["trian"] else "0", [])


def test_a_wrong_option_of_train_is_found_without_ray():
    code, names = loaded(["train", "--updtes", "3"], ("torch", "ray", "sacrebleu", "gymnasium"))
    assert (code, names) == ("2", ["torch"])


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_collected_afterwards_as_before(collects):
    before = gc.isenabled()
    (gc.enable if collects else gc.disable)()
    try:
        with keeping_all():
            with keeping_all():
                pass
            assert not gc.isenabled(), "the inner block ends nothing for the outer"
        assert gc.isenabled() is collects
        with contextlib.suppress(KeyError), keeping_all():
            raise KeyError
        assert gc.isenabled() is collects, "after an error too"
    finally:
        gc.unfreeze()
        (gc.enable if before else gc.disable)()


KEPT = """
import sys, weakref
from rubout.cli import train
from rubout.training import setup
built, build = [], setup.build_policy
def noted(*given):
    policy = build(*given)
    built.append(weakref.ref(policy))
    return policy
setup.build_policy = noted
with train.keeping_all():
    train._prepare(sys.argv[1:])
print(len(built), [policy() for policy in built])
"""


def test_the_policy_that_was_only_checked_is_gone(tmp_path):
    """What is there when preparing ends stays for good."""
    line = [sys.executable, "-c", KEPT, "--out", str(tmp_path / "run"), "--learner", "mle"]
    ended = subprocess.run(line, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "1 [None]"
