"""Fixtures that more than one folder of tests uses."""

from collections.abc import Iterator
from functools import cache

import httpx
import pytest
import structlog

from freehold.log import get_logger
from tests.support.servers import Service


def pytest_configure() -> None:
    """One TLS context for all of httpx's clients: each would read all certificate authorities again, some 20 ms.

    A worker made thousands of clients, and did little else.
    """
    pytest.MonkeyPatch().setattr(
        "httpx._transports.default.create_ssl_context", cache(httpx.create_ssl_context)
    )


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """A command that a test ran in this process has configured logging for all of it."""
    yield
    get_logger().bind()  # or the next line that is logged would still set it up
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
