"""Fixtures of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.central_place import KINDS, CentralPlace, new_place, servers
from tests.sqld import Sqld


@pytest.fixture(scope="module", params=KINDS)
def central_server(request: pytest.FixtureRequest) -> Iterator[Sqld | None]:
    """A test that asks for `place` runs once with each kind."""
    with servers(request.param) as running:
        yield running


@pytest.fixture
def place(central_server: Sqld | None, tmp_path: Path) -> CentralPlace:
    """A central database of its own for one test."""
    return new_place(central_server, tmp_path)
