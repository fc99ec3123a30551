"""FTS5's special commands: rows inserted into a column that has the name of their table.

Some set sizes that FTS5 does not check (`hashsize`: how much memory a writer may use; `pgsz`, `crisismerge`: how much
work one insert may cause), some only tidy up. The command and its number must be written out in the text, or they
cannot be judged.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from freehold.lru import cached_if_short
from freehold.sql.tokens import Kind, Token, counted, tokens

# The least and the greatest `rank` that each accepts; sizes are in bytes.
_NUMBERS = {
    "automerge": (0, 64),
    "crisismerge": (2, 64),
    "deletemerge": (0, 100),
    "hashsize": (16_384, 16_777_216),
    "insttoken": (0, 1),
    "integrity-check": (0, 1),
    "merge": (-10_000, 10_000),
    "pgsz": (256, 65_536),
    "secure-delete": (0, 1),
    "usermerge": (2, 16),
}
_PLAIN = frozenset({"delete", "delete-all", "flush", "integrity-check", "optimize", "rebuild"})
_RANK = re.compile(r"bm25\([0-9., +-]{0,1000}\)", re.IGNORECASE)
_NAMES = frozenset({Kind.WORD, Kind.QUOTED, Kind.STRING})


class Command(NamedTuple):
    """An insert into a column of its table's name, which is a command if the table is an FTS5 table."""

    table: str
    fault: str | None


def commands_in(sql: str) -> Sequence[Command]:
    """The commands in a text, each with what is wrong with it; most texts have none."""
    return _commands(sql) if "into" in sql.lower() else ()


@cached_if_short(2048)
def _commands(sql: str) -> tuple[Command, ...]:
    words = list(counted(tokens(sql)))
    found = (_command(words, at + 1) for at, word in enumerate(words) if word == (Kind.WORD, "into"))
    return tuple(command for command in found if command is not None)


def _command(words: Sequence[Token], at: int) -> Command | None:
    """The command in the insert whose INTO is just before `at`, or None."""
    if _text(words, at + 1) == ".":
        at += 2
    if at >= len(words) or words[at].kind not in _NAMES:
        return None
    table = words[at].text.lower()
    at += 1
    if _text(words, at) == "as":
        at += 2
    if _text(words, at) != "(":
        return None
    columns, at = _list(words, at)
    names = [column[0].text.lower() if len(column) == 1 else "" for column in columns]
    if table not in names:
        return None
    rank = names.index("rank") if "rank" in names else None
    if _text(words, at) != "values":
        return Command(table, _UNSEEN)
    at += 1
    while _text(words, at) == "(":
        row, at = _list(words, at)
        if fault := _fault(row, names.index(table), rank):
            return Command(table, fault)
        if _text(words, at) == ",":
            at += 1
    return Command(table, None)


def _list(words: Sequence[Token], at: int) -> tuple[list[list[Token]], int]:
    """The comma-separated parts in the parentheses that open at `at`, and the position after them."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for after in range(at, len(words)):
        text = words[after].text if words[after].kind is Kind.OTHER else ""
        depth += (text == "(") - (text == ")")
        if depth == 0:
            return parts, after + 1
        if text == "," and depth == 1:
            parts.append([])
        elif after > at:
            parts[-1].append(words[after])
    return parts, len(words)


_UNSEEN = (
    "a command to a full-text table must stand in the text: INSERT INTO t(t, rank) VALUES ('merge', 16), with both "
    "written out"
)


def _fault(row: Sequence[Sequence[Token]], column: int, rank: int | None) -> str | None:
    command = row[column] if column < len(row) else []
    if [(word.kind, word.text) for word in command] == [(Kind.WORD, "null")]:
        return None  # a row like any other
    if len(command) != 1 or command[0].kind is not Kind.STRING:
        return _UNSEEN
    value = list(row[rank]) if rank is not None and rank < len(row) else []
    return _fault_of(command[0].text.lower(), value)


def _fault_of(name: str, value: Sequence[Token]) -> str | None:
    if name == "rank":
        is_known = len(value) == 1 and value[0].kind is Kind.STRING and _RANK.fullmatch(value[0].text)
        return None if is_known else "the rank function of a full-text table is 'bm25(...)' with numbers, written out"
    limits = _NUMBERS.get(name)
    if name in _PLAIN and not (value and limits):
        return None
    if limits is None:
        known = ", ".join(sorted({*_NUMBERS, *_PLAIN, "rank"}))
        return f"a full-text table has no command '{name[:40]}'; these are: {known}"
    number = _number(value)
    if number is None or not limits[0] <= number <= limits[1]:
        least, most = limits
        return f"the command '{name}' of a full-text table takes a number from {least} to {most}, written out"
    return None


def _number(words: Sequence[Token]) -> int | None:
    texts = [word.text for word in words]
    sign = -1 if texts[:1] == ["-"] else 1
    if texts[:1] in (["-"], ["+"]):
        texts, words = texts[1:], words[1:]
    is_literal = len(words) == 1 and words[0].kind in {Kind.WORD, Kind.STRING}
    if not is_literal or not re.fullmatch("[0-9]{1,9}", texts[0], re.ASCII):
        return None
    return sign * int(texts[0])


def _text(words: Sequence[Token], at: int) -> str:
    return words[at].text if at < len(words) and words[at].kind in {Kind.WORD, Kind.OTHER} else ""
