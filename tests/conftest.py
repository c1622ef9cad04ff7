"""One thread: the machine's cores are few, and tests are small. Faults only where asked for.

No test is timed, by hypothesis either: other programs may take the machine meanwhile.
"""

import os

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos", action="store_true", help="run the tests marked chaos too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--chaos") or os.environ.get("RUBOUT_CHAOS") == "1":
        return
    skip = pytest.mark.skip(reason="takes nodes, disks and memory away: --chaos or RUBOUT_CHAOS=1")
    for item in items:
        if item.get_closest_marker("chaos"):
            item.add_marker(skip)
