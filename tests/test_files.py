"""A full disk is said in one line, however the library that wrote hides it."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from rubout.errors import UserError
from rubout.files import room_for

# A limit to the size of files stands for a full disk: it needs no rights.
CODE = """
import resource, sys
from pathlib import Path
import numpy as np, torch
from safetensors.torch import save_file
from rubout.errors import UserError
from rubout.files import room_for

path, how = Path(sys.argv[1]), sys.argv[2]
tensors = {"a": torch.zeros(100_000)}
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    with room_for(path, "then go on"):
        if how == "safetensors":
            save_file(tensors, path)
        with path.open("wb") as file:
            if how == "torch":
                torch.save(tensors, file)
            else:
                np.savez(file, a=tensors["a"].numpy())
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("how", ["safetensors", "torch", "numpy"])
def test_whoever_writes(how: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    words = [sys.executable, "-W", "ignore", "-c", CODE, str(path), how]
    ended = subprocess.run(words, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert (
        ended.stdout == f"{path} cannot be written: File too large: make room there; then go on\n"
    )


def test_other_errors_are_not_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), room_for(tmp_path, ""):
        (tmp_path / "none" / "file").write_text("")
    with pytest.raises(KeyError), room_for(tmp_path, ""):
        raise KeyError("28")


def quota_ends() -> None:
    try:
        raise OSError(errno.EDQUOT, "quota")
    except OSError:
        raise RuntimeError("unexpected pos") from None


def test_an_older_error_beneath_is_found(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="quota exceeded"), room_for(tmp_path, ""):
        quota_ends()
