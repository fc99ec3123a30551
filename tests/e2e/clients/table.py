"""The table of docs/clients.md."""

import textwrap
from collections.abc import Iterator, Mapping

from testbed.servers import ROOT

from tests.e2e.clients.expected import RED
from tests.e2e.clients.kinds import CLIENTS, Outcome, version_of
from tests.e2e.clients.places import PLACES

PAGE = ROOT / "docs/clients.md"
_BEGIN = "<!-- The table is written by `make clients`, from what the suite has seen. -->\n"
_END = "<!-- the table ends -->\n"


def rendered(found: Mapping[str, Outcome]) -> str:
    """The table, with what was tried at any one place; that all is as expected was seen before."""
    notes: list[str] = []
    rows = ["| client | works | files | sqld | Turso |", "|---|---|---|---|---|"]
    for name, outcome in found.items():
        client = CLIENTS[name]
        title = f"{client.name} {version_of(client)}".strip()
        for parts, cells in _together(name, outcome, notes):
            rows.append(f"| {title} | {'; '.join(parts)} | {' | '.join(cells)} |")
            title = ""
    return "\n".join([*rows, "", *(_wrapped(f"{number}. {why}") for number, why in enumerate(notes, 1)), ""])


def _wrapped(note: str) -> str:
    """As wide as all pages."""
    return textwrap.fill(note, 120, subsequent_indent="   ", break_long_words=False, break_on_hyphens=False)


def _together(name: str, outcome: Outcome, notes: list[str]) -> Iterator[tuple[list[str], tuple[str, ...]]]:
    """What was tried, with the same cells in one row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for what in outcome:
        red = RED.get((name, what))
        if red is not None and red.why not in notes:
            notes.append(red.why)
        cells = tuple(
            f"no ({notes.index(red.why) + 1})" if red is not None and place in red.places else "yes" for place in PLACES
        )
        rows.setdefault(cells, []).append(what)
    for cells, parts in rows.items():
        yield parts, cells


def in_page() -> str:
    """The table that is there."""
    text = PAGE.read_text()
    return text.partition(_BEGIN)[2].partition(_END)[0].strip("\n") + "\n"


def write(table: str) -> None:
    """Put it there."""
    before, begin, rest = PAGE.read_text().partition(_BEGIN)
    assert begin, f"{PAGE} has no place for the table"
    after = rest.partition(_END)[2]
    PAGE.write_text(f"{before}{begin}\n{table}\n{_END}{after}")
