"""`rubout new KIND NAME`: a plug-in that works, and its test, to change into your own."""

from __future__ import annotations

import ast
import importlib.util
import keyword
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Annotated

import tyro

from rubout.cli.parse import parse
from rubout.errors import UserError, nearest

# How each is put to use: alone, and with what needs rollouts, so that actors have work.
_USES = {
    "learner": ("--learner {}", "--learner {}"),
    "reward": ("--learner seqgan --reward {}", "--learner seqgan --reward {}"),
    "task": ("--task {}", "--learner psi_mle --task {}"),
    "policy": ("--policy {}", "--learner psi_mle --policy {}"),
}


@dataclass(frozen=True)
class NewOptions:
    """Write a plug-in that works, and its test, to change into your own."""

    kind: Annotated[str, tyro.conf.Positional]
    """learner, reward, task or policy."""
    name: Annotated[str, tyro.conf.Positional]
    """Its module: NAME.py is written, and test_NAME.py."""
    out: Path = Path()
    """Folder to write to."""


def run(argv: list[str]) -> int:
    """See the module."""
    options = parse(NewOptions, argv, "rubout new")
    kind, name, folder = options.kind, options.name, options.out
    if kind not in _USES:
        raise UserError(f"unknown kind {kind!r}{nearest(kind, _USES)}")
    skeletons = {prefix: _skeleton(prefix + kind) for prefix in ("", "test_")}
    class_name = _class_name(name, [*skeletons.values()])
    files = {
        folder / f"{prefix}{name}.py": skeleton.substitute(name=name, Class=class_name)
        for prefix, skeleton in skeletons.items()
    }
    for path in files:
        if path.exists():
            raise UserError(f"{path} exists and is left as it is: choose another name, or --out")
    _check_not_importable(name)
    _write(files)
    print(f"{kind} {name}:{class_name} written to {folder / name}.py, its test beside it")
    _show_next(kind, name, class_name, folder)
    return 0


def _skeleton(name: str) -> Template:
    path = resources.files("rubout.cli") / "skeletons" / f"{name}.py.txt"
    return Template(path.read_text(encoding="utf-8"))


def _class_name(name: str, texts: list[Template]) -> str:
    """`my_learner` gives `MyLearner`.

    Raises:
        UserError: it is no name, or one that the skeletons use for something else.
    """
    found = "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    for word in (name, found):
        if not word.isidentifier() or keyword.iskeyword(word):
            raise UserError(f"{name!r} cannot be a module's name: letters, digits and _, as my_own")
    trees = [ast.parse(text.substitute(name="_", Class="_")) for text in texts]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    if found in {getattr(node, "id", getattr(node, "name", None)) for node in nodes}:
        raise UserError(f"{name} would make a class {found}, a name already in use: choose another")
    return found


def _check_not_importable(name: str) -> None:
    """Whether `import NAME` would find the plug-in, and not what bears that name already."""
    try:
        spec = importlib.util.find_spec(name)
        where = None if spec is None else spec.origin  # None: a mere folder, which gives way
    except ValueError:  # __main__
        where = "Python"
    if where is not None:
        raise UserError(f"there is a module {name} already, in {where}: choose another name")


def _write(files: Mapping[Path, str]) -> None:
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}") from error


def _show_next(kind: str, name: str, class_name: str, folder: Path) -> None:
    alone, with_actors = (use.format(f"{name}:{class_name}") for use in _USES[kind])
    task = "" if kind == "task" else " --task python-docs"
    lines = [] if folder.resolve() == Path.cwd() else [f"cd {shlex.quote(str(folder))}"]
    lines += [
        f"python -m pytest test_{name}.py",
        f"rubout train {alone}{task} --out runs/{name}",
        f"rubout train {with_actors}{task} --out runs/{name}-actors --rollout-workers 2",
    ]
    print("\nnext:", *lines, sep="\n  ")
