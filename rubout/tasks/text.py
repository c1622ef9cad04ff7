"""Sentences of any UTF-8 file, one a line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rubout.errors import UserError
from rubout.files import text_lines
from rubout.task import Split
from rubout.tasks.corpus import CorpusConfig, CorpusTask, Long, hold_out, make_corpus


class Text(CorpusTask):
    """Sentences of a UTF-8 file, one a line.

    Whitespace around a line is dropped, and collapsed within it at word level; blank lines are
    skipped. `min_count` concerns words alone.
    """

    @dataclass(frozen=True)
    class Config(CorpusConfig):
        """Options of the task `text`."""

        path: Path
        """The training text: any UTF-8 file, one sentence a line."""
        validation: Path | None = None
        """A file of validation sentences; None: held out from the training text."""
        test: Path | None = None
        """A file of test sentences; None: held out from the training text."""
        max_length: int = 0
        """Most tokens in a sentence; 0: as many as the longest sentence of all splits has."""
        long: Long = "error"
        """What to do with longer sentences: refuse to start, drop them, or truncate them."""
        limit: int = 0
        """Use at most so many training lines, the first; 0: all."""

    def __init__(self, config: Config) -> None:
        """Read, split and encode the files.

        Raises:
            UserError: an option or a file is not usable; one line that says what to do.
        """
        if config.limit < 0:
            raise UserError(f"limit must not be negative, not {config.limit}")
        self.config = config
        lines = read_lines(config.path)
        files: dict[Split, Path | None] = {"validation": config.validation, "test": config.test}
        given: dict[Split, list[str]] = {
            name: read_lines(path) for name, path in files.items() if path is not None
        }
        held_out = [name for name in files if name not in given]
        splits = hold_out(lines, held_out, config, str(config.path)) | given
        splits["train"] = splits["train"][: config.limit or None]
        super().__init__(
            make_corpus(
                splits,
                config,
                max_length=config.max_length,
                long=config.long,
                source=str(config.path),
            )
        )


def read_lines(path: Path | str) -> list[str]:
    """The lines of a UTF-8 file, stripped, without the blank ones.

    Raises:
        UserError: the file is missing, a folder, unreadable, empty or not UTF-8.
    """
    lines = [line for line in text_lines(Path(path)) if line]
    if not lines:
        raise UserError(f"{path} is empty; it must hold one sentence a line")
    return lines
