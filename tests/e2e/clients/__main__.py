"""`make clients`: plays all clients everywhere and writes the table into docs/clients.md."""

import sys
import tempfile
from pathlib import Path

from tests.e2e.clients.expected import surprises
from tests.e2e.clients.kinds import played
from tests.e2e.clients.places import PLACES, running_place
from tests.e2e.clients.table import rendered, write


def main() -> int:
    """0 if all is as expected, else 1, and then nothing is written."""
    lines = []
    for name in PLACES:
        with tempfile.TemporaryDirectory() as folder, running_place(name, Path(folder)) as place:
            found = played(place)
        lines += surprises(name, found)
    print(*lines, sep="\n")
    if not lines:
        write(rendered(found))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
