"""What people read is plain English: the worst habits of translated prose do not come back."""

import re
import tokenize
from collections.abc import Iterator
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
    | \b(?:[Ss]ome|[Ee]very|[Aa]ny)body\b   # someone, everyone, anyone; or the user, the client
    | \bhanded\ out\b | \bmade\ again\b     # issued; created again, rebuilt
    | \b(?:object|document)\ a\ \w+         # one object per line
    | \bUTC\ moment\b | \bnot\ said\b       # UTC timestamp; not given, by default
    | \bis\ to\ be\ (?:done|had)\b          # there is nothing to do; is available
    """,
    re.VERBOSE,
)
_IN_CODE = re.compile(r"\b(?:[Ss]ome|[Ee]very|[Aa]ny)body\b|\bUTC moment\b|; gives (?:how|that|the)\b|[\w,] so many\b")
SOURCE = ROOT / "src/freehold"
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


@pytest.mark.parametrize("package", sorted({path.relative_to(SOURCE).parts[0] for path in SOURCE.rglob("*.py")}))
def test_docstrings_comments_and_messages_are_plain_english(package: str) -> None:
    at = SOURCE / package
    found = [
        f"{path.relative_to(SOURCE)}:{token.start[0]}: {token.string}"
        for path in ([at] if at.is_file() else sorted(at.rglob("*.py")))
        for token in _prose(path)
        if _IN_CODE.search(token.string)
    ]
    assert not found


def _prose(path: Path) -> Iterator[tokenize.TokenInfo]:
    """Its comments, docstrings and messages: texts of several words."""
    with tokenize.open(path) as lines:
        for token in tokenize.generate_tokens(lines.readline):
            if token.type in (tokenize.COMMENT, tokenize.STRING) and " " in token.string:
                yield token
