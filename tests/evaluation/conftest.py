from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the oracle draws is kept in the test's own folder."""
    monkeypatch.setenv("RUBOUT_CACHE", str(tmp_path / "cache"))
