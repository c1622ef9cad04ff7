"""Writing so that a crash loses nothing: whole files or none."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write a JSON document, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached(kind: str, key: Mapping[str, object], make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array that takes long to make, kept under the user's cache folder.

    The folder is `$RUBOUT_CACHE`, else `$XDG_CACHE_HOME/rubout`, else `~/.cache/rubout`; where it
    cannot be written, the array is made afresh each time.

    Args:
        kind: prefix of the file's name.
        key: everything the array depends on.
        make: called where the array is not there.
    """
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(os.environ.get("RUBOUT_CACHE") or Path(home) / "rubout")
    name = hashlib.sha256(repr(sorted(key.items())).encode()).hexdigest()[:24]
    path = folder / f"{kind}-{name}.npy"
    if path.is_file():
        kept: np.ndarray = np.load(path, allow_pickle=False)
        return kept
    array = make()
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)
    except OSError:
        pass  # a cache is a convenience; the array is what was asked for
    return array
