"""What Ray Tune reads from the environment, set before Ray is imported."""

from __future__ import annotations

import os


def prepare() -> None:
    """What Tune reads from the environment; call it before anything imports ray."""
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")  # plug-ins lie where the command is typed
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # its own tables between our lines
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "2")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_SYNCER", "1")
