"""Fixtures that more than one folder of tests uses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from freehold.log import get_logger
from tests.support.servers import Service

_NO_AUTHORITY = Path(__file__).with_name("no_authority.pem")


@pytest.fixture(autouse=True, scope="session")
def _one_authority() -> Iterator[None]:
    """Let TLS trust a single certificate, whose key is lost: tests stay on this machine.

    httpx reads all authorities again for each client, some 20 ms; a worker made thousands of clients, and did little
    else.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(_NO_AUTHORITY))
        yield


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
