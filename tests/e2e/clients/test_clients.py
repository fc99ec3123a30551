"""Every official client works where docs/clients.md says that it does, and nowhere else."""

from pathlib import Path

import pytest

from tests.e2e.clients.expected import surprises
from tests.e2e.clients.kinds import played
from tests.e2e.clients.places import PLACES, PlaceName, running_place
from tests.e2e.clients.table import in_page, rendered


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", PLACES)
def test_the_table_of_clients_is_what_they_do(name: PlaceName, tmp_path: Path) -> None:
    with running_place(name, tmp_path) as place:
        found = played(place)
    assert surprises(name, found) == []
    assert in_page() == rendered(found), "the table in docs/clients.md is an old one: run `make clients`"
