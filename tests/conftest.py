"""Fixtures that more than one folder of tests uses."""

from collections.abc import Iterator

import pytest
import structlog

from tests.servers import Service


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """A command that a test ran in this process has configured logging for all of it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service with an empty installation, shared by the tests of one module."""
    running = Service(tmp_path_factory.mktemp("service")).start()
    yield running
    running.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest first; the other workers do the rest meanwhile."""
    items.sort(key=lambda item: "test_fresh_clone" not in item.nodeid)
