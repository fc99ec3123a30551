"""Fixtures of this folder."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from testbed.sqld import Sqld, running_sqld
from testbed.twin import Twin, running_twin

from tests.support.central_place import KINDS, CentralPlace, new_place, servers
from tests.support.gateway_app import Served, served_by_sqld
from tests.support.gateway_app import served as served_on_files


@pytest.fixture(scope="module", params=KINDS)
def central_server(request: pytest.FixtureRequest) -> Iterator[Sqld | None]:
    """A test that asks for `place` runs once with each kind."""
    with servers(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def sqld() -> Iterator[Sqld]:
    """One for the tests of a file; those that need another kind make their own."""
    with running_sqld() as running:
        yield running


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    """Turso's Platform API, on this machine: one for the tests of a file."""
    with running_twin() as running:
        yield running


@pytest.fixture
async def served(sqld: Sqld, tmp_path: Path) -> AsyncIterator[Served]:
    """The gateway in front of `sqld`."""
    async with served_by_sqld(tmp_path, sqld) as running:
        yield running


@pytest.fixture(params=["files", "sqld"])
async def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    """The gateway on files, then in front of `sqld`, which must survive the test."""
    if request.param == "files":
        async with served_on_files(tmp_path) as running:
            yield running
        return
    sqld: Sqld = request.getfixturevalue("sqld")
    async with served_by_sqld(tmp_path, sqld) as running:
        yield running
    assert sqld.is_running, sqld.log()[-1000:]


@pytest.fixture
def place(central_server: Sqld | None, tmp_path: Path) -> CentralPlace:
    """A central database of its own for one test."""
    return new_place(central_server, tmp_path)
