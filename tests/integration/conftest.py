"""Fixtures of this folder."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.central_place import KINDS, CentralPlace, new_place, servers
from tests.gateway_app import Served, served_by_sqld
from tests.sqld import Sqld, running_sqld


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


@pytest.fixture
async def served(sqld: Sqld, tmp_path: Path) -> AsyncIterator[Served]:
    """The gateway in front of `sqld`."""
    async with served_by_sqld(tmp_path, sqld) as running:
        yield running


@pytest.fixture
def place(central_server: Sqld | None, tmp_path: Path) -> CentralPlace:
    """A central database of its own for one test."""
    return new_place(central_server, tmp_path)
