from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A cluster of this process alone, with CPUs for two actors; ray is imported only here."""
    from rubout.rollout.environment import prepare

    prepare(None)
    ray = pytest.importorskip("ray")
    from rubout.rollout.cluster import connect

    connect()
    yield
    ray.shutdown()
