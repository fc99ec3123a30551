"""What people read is plain English: the worst habits of translated prose do not come back."""

import re
from pathlib import Path

import click
import pytest
from testbed.servers import ROOT

from tests.support.commands import COMMANDS

_HABITS = re.compile(
    r"""
      \banew\b | \bworthless\b              # again; revoked, or invalid
    | \b(?:for|by|of|from)\ who\b           # whoever, or the user who
    | \b(?:is|are)\ told\ (?:as|of)\b       # is reported as
    | \bno\ more[.;]                        # no longer
    | \bSo\ many\b                          # this many, or: how many
    """,
    re.VERBOSE,
)
_PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("DESIGN.md"))
    if path.name != "CHANGELOG.md"  # what was released is not rewritten
)


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_are_plain_english(page: Path) -> None:
    found = [line for line in page.read_text().splitlines() if _HABITS.search(line)]
    assert not found


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_is_plain_english(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    texts = [command.help or "", command.short_help or "", command.epilog or ""]
    texts += [each.help or "" for each in command.params if isinstance(each, click.Option)]
    assert not [text for text in texts if _HABITS.search(" ".join(text.split()))]
