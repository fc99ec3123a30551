"""Fixtures that more than one folder of tests uses."""

import gc
import os
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from testbed.servers import Service

from freehold.log import get_logger

# Memory that Linux has for files. In it a commit takes a hundredth of the time that a disk takes for it.
_MEMORY = Path("/dev/shm")
_MEMORY_NEEDED = 4_000_000_000
# Files with a test that takes 20 seconds or more, or with many that wait, the slowest first.
_SLOW = (
    *("test_fresh_clone", "test_connections", "test_large_schemas", "test_rollout_campaign"),
    *("test_sqlalchemy_suite", "test_ci_recipe", "test_sqld_many", "test_fault_campaign", "test_sqld_limits"),
    *("test_sqld_service", "test_tenant_life", "test_migrating_clients", "test_repair", "test_bench", "test_ready"),
    *("test_readme", "test_view_bombs", "test_engine_stall", "test_sqld_crashes", "test_sql_reading", "test_clients"),
)
_NO_AUTHORITY = Path(__file__).with_name("no_authority.pem")


# Hypothesis measures time as well, and would fail what is slow on a busy machine only.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure() -> None:
    """Keep temporary files in memory, where there is enough of it and TMPDIR does not say otherwise.

    Nothing that is killed loses what it has written there, and no test cuts the power.
    """
    if "TMPDIR" not in os.environ and _MEMORY.is_dir():
        found = os.statvfs(_MEMORY)
        if found.f_bavail * found.f_frsize > _MEMORY_NEEDED and not found.f_flag & os.ST_NOEXEC:
            os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


def pytest_collection_finish() -> None:
    """Look for garbage in what tests make, not each time in all modules and tests as well: half a second."""
    gc.collect()
    gc.freeze()


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
    """Deal the slow files out, so that each worker begins with some and all end with what is quick.

    With `--dist worksteal` a worker gets an equal part of the list, in one piece, before it takes from others.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow: dict[str, list[pytest.Item]] = {name: [] for name in _SLOW}
    others: list[pytest.Item] = []
    for item in items:
        slow.get(item.path.stem, others).append(item)
    quick = iter(others)
    dealt: list[pytest.Item] = []
    for worker in range(workers):
        begins = len(dealt)
        for name in _SLOW[worker::workers]:
            dealt += slow[name]
        dealt += islice(quick, max(0, len(items) // workers - len(dealt) + begins))
    items[:] = [*dealt, *quick]
