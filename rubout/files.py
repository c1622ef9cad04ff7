"""Writing so that a crash loses nothing: whole files or none."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rubout.errors import UserError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def room_for(path: Path, advice: str) -> Iterator[None]:
    """Where the disk is full while the block writes `path`, say so in a line instead of a trace.

    Args:
        path: file or folder to name.
        advice: what to do, after "make room there".

    Raises:
        UserError: the disk is full, or the user may write no more (quota, file size).
    """
    try:
        yield
    except Exception as error:
        code = _system_code(error)
        if code not in _FULL:
            raise
        raise UserError(
            f"{path} cannot be written: {os.strerror(code)}: make room there; {advice}"
        ) from error


def _system_code(error: BaseException | None) -> int | None:
    """The system's number of the first error that has one, from the newest to its origin."""
    while error is not None:
        # Libraries hide it in a message of their own, or under an error that they raise later.
        found = re.search(r"(?:Errno|os error) (\d+)", str(error))
        if found:
            return int(found[1])
        error = error.__cause__ or error.__context__
    return None


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


def text_lines(path: Path) -> Iterator[str]:
    r"""Each line of a UTF-8 file, stripped; lines end with \n or \r\n and nothing else.

    A byte order mark is dropped. Nothing but the present line is kept in memory.

    Raises:
        UserError: the file is missing, a folder, unreadable or not UTF-8.
    """
    offset = 0
    try:
        with path.expanduser().open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    text = line.decode()
                except UnicodeDecodeError as error:
                    raise UserError(
                        f"{path} is not UTF-8: byte 0x{line[error.start]:02x} at offset "
                        f"{offset + error.start}, line {number}; convert it first, for instance "
                        f"with iconv"
                    ) from None
                yield (text.removeprefix("\ufeff") if number == 1 else text).strip()
                offset += len(line)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; name a text file, one sentence a line") from None
    except (OSError, ValueError, RuntimeError) as error:  # no permission, a NUL, no home folder
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', error)}") from None


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
