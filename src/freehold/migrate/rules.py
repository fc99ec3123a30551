"""What a migration declares at its top, and what it may not contain, found in its SQL without a database."""

import re
from collections.abc import Iterator, Sequence
from itertools import takewhile

from msgspec import Struct

from freehold.migrate.faults import BadMigration, Fault
from freehold.migrate.names import folded
from freehold.migrate.split import Statement, tokens
from freehold.sql.tokens import Kind

RESERVED_PREFIX = "freehold_"
_TRANSACTION = {"BEGIN", "COMMIT", "END", "ROLLBACK", "SAVEPOINT", "RELEASE"}
_OUTSIDE = {"ATTACH", "DETACH", "VACUUM"}
_OF_SCHEMA = {
    *(("CREATE", what) for what in ("INDEX", "TABLE", "UNIQUE", "VIRTUAL")),
    ("ALTER", "TABLE"),
    ("DROP", "INDEX"),
}
_OF_TEXT = {"INSERT", "REPLACE"}
_WITH_SELECT_INSIDE = {"TRIGGER", "VIEW"}


class _Word(Struct, frozen=True):
    """A token as it is compared: the name without quotes in lower case, the keyword in upper case."""

    kind: Kind
    keyword: str
    name: str


def sql_faults(sql: str, pieces: Sequence[Statement]) -> list[Fault]:
    """Every fault in the SQL, in the order of its lines; faults of the file as a whole come first."""
    found = list(_front_matter_faults(sql))
    if not pieces:
        found.append(Fault(code="FH002", reason="it holds no statement; write one, or leave the file out"))
    statements = [_words(piece.sql) for piece in pieces]
    is_off = any(directive(line) == ("foreign_keys", "off") for line in leading_comments(sql))
    rebuilds = _rebuild_faults(statements, is_off)
    for number, (piece, words) in enumerate(zip(pieces, statements, strict=True), start=1):
        reasons = [*_statement_reasons(words), *rebuilds.get(number, ())]
        found += [Fault(code=code, reason=reason, statement=number, line=piece.line) for code, reason in reasons]
    return found


def require_inside(pieces: Sequence[Statement]) -> None:
    """Return unless a statement opens or writes a file other than its database. Raises `BadMigration`."""
    found = []
    for number, piece in enumerate(pieces, start=1):
        verb = _words(piece.sql)[0].keyword
        if verb in _OUTSIDE:
            reason = f"{verb} is refused: it acts outside the database; leave it out"
            found.append(Fault(code="FH004", reason=reason, statement=number, line=piece.line))
    if found:
        raise BadMigration(found)


def is_brief(pieces: Sequence[Statement]) -> bool:
    """Whether every statement changes the schema only, or writes rows that are literal in its text.

    Except for indexes, the time that takes does not depend on how many rows a user has.
    """
    return all(_is_brief([word.keyword for word in _words(piece.sql)]) for piece in pieces)


def _is_brief(keywords: Sequence[str]) -> bool:
    first, second = (*keywords[:2], "")[:2]
    if second in _WITH_SELECT_INSIDE:  # the SELECT does not run yet
        return first in {"CREATE", "DROP"}
    return (first in _OF_TEXT or (first, second) in _OF_SCHEMA) and "SELECT" not in keywords


def _words(sql: str) -> list[_Word]:
    found = []
    for kind, start, end in tokens(sql):
        text = sql[start:end]
        name = text
        if kind in {Kind.QUOTED, Kind.STRING}:
            # Where a name is expected, SQLite accepts a string: DROP TABLE 'x' drops x.
            name = text[1:-1].replace(text[0] * 2, text[0])
        found.append(_Word(kind, text.upper() if kind is Kind.WORD else "", folded(name)))
    return found


def _statement_reasons(words: Sequence[_Word]) -> Iterator[tuple[str, str]]:
    """The code and reason of each fault."""
    first = words[0].keyword
    second = words[1].keyword if len(words) > 1 else ""
    if first in _TRANSACTION:
        yield "FH003", f"{first} is refused: a migration already runs in one transaction; leave it out"
    elif first in _OUTSIDE:
        yield "FH004", f"{first} is refused: it acts outside the transaction; leave it out"
    elif first == "ANALYZE":
        yield "FH004", "ANALYZE is refused: not every engine takes it from a client; leave it out"
    elif first == "CREATE" and second in {"TEMP", "TEMPORARY"}:
        yield ("FH004", "temporary objects are refused: not every engine has them; use a table and drop it again")
    elif first == "PRAGMA" and (reason := _pragma_reason(words)):
        yield "FH005", reason
    if any(word.kind is Kind.VARIABLE for word in words):
        yield "FH006", "it has a parameter, and nothing is bound to it; write the value"
    if reserved := next((word.name for word in words if _is_reserved(word)), None):
        yield "FH007", f"`{reserved}` is refused: names that start with {RESERVED_PREFIX} are Freehold's own"


def _is_reserved(word: _Word) -> bool:
    # A string is nearly always data, but where a name is expected it is a name too.
    if word.kind is Kind.STRING:
        return word.name == f"{RESERVED_PREFIX}ledger"
    return word.kind in {Kind.WORD, Kind.QUOTED} and word.name.startswith(RESERVED_PREFIX)


def _pragma_reason(words: Sequence[_Word]) -> str:
    names = [word.name for word in words[1:4]]  # name, or schema . name
    pragma = names[2] if len(names) == 3 and names[1] == "." else next(iter(names), "")
    if pragma == "foreign_keys":
        return (
            "PRAGMA foreign_keys does nothing inside a transaction; "
            "start the file with the line `-- foreign_keys: off` instead"
        )
    if pragma == "defer_foreign_keys":
        return ""
    return f"PRAGMA {pragma} is refused: only defer_foreign_keys acts alike on every engine; leave it out"


def _rebuild_faults(statements: Sequence[Sequence[_Word]], is_off: bool) -> dict[int, list[tuple[str, str]]]:
    """Codes and reasons by statement number. Dropping a parent table with foreign keys on deletes its child rows."""
    dropped = {name: number for number, words in enumerate(statements, 1) if (name := _dropped(words))}
    found: dict[int, list[tuple[str, str]]] = {}
    for number, words in enumerate(statements, start=1):
        old, new = _renamed(words)
        if new in dropped and dropped[new] < number and not is_off:
            reason = (
                f"this rebuilds table {new}, and dropping it with foreign keys on would also delete rows that "
                "reference it; start the file with the line `-- foreign_keys: off`"
            )
            found.setdefault(dropped[new], []).append(("FH008", reason))
        if new in dropped and dropped[new] > number:
            reason = (
                f"renaming {old} away before it is dropped makes other tables reference {new}; create the new "
                "table under another name, copy the rows, drop the old table, then rename the new one"
            )
            found.setdefault(number, []).append(("FH009", reason))
    return found


def _dropped(words: Sequence[_Word]) -> str:
    """The table that a statement drops, or an empty string."""
    return words[-1].name if [word.keyword for word in words[:2]] == ["DROP", "TABLE"] else ""


def _renamed(words: Sequence[_Word]) -> tuple[str, str]:
    """The old and the new name of the table that a statement renames, or empty strings."""
    keywords = [word.keyword for word in words]
    if keywords[:2] != ["ALTER", "TABLE"] or keywords[-3:-1] != ["RENAME", "TO"]:
        return "", ""
    return words[-4].name, words[-1].name


def _front_matter_faults(sql: str) -> Iterator[Fault]:
    leading = leading_comments(sql)
    seen: set[str] = set()
    for key, value in filter(None, map(directive, leading)):
        if key in seen:
            yield Fault(reason=f"`-- {key}:` stands there twice; keep one")
        seen.add(key)
        if key == "foreign_keys" and value not in {"on", "off"}:
            yield Fault(reason=f"`-- foreign_keys:` is `on` or `off`, not `{value[:40]}`")
    for number, line in enumerate(sql.split("\n"), start=1):
        key, _ = directive(line) or ("", "")
        if key == "foreign_keys" and line.strip() not in leading:
            yield Fault(reason="`-- foreign_keys:` counts only before the first statement; move it up", line=number)


# The comments at the top of a migration: lines of the form `-- key: value`.

# Known keys only: other comments are prose, which may also contain a colon.
_DIRECTIVE = re.compile(r"--[ \t]*(description|foreign[ _-]?keys)[ \t]*:[ \t]*(.*)", re.IGNORECASE)
# How it is released. Appliers refuse no migration for these, since old prose must not stop one; lint does.
_RELEASE = re.compile(r"--[ \t]*(phase|min[ _-]?app|allow)[ \t]*:[ \t]*(.*)", re.IGNORECASE)


def front_matter(sql: str) -> dict[str, str]:
    """`description` and `foreign_keys` from the leading comments; the first of a repeated key counts."""
    return dict(reversed([pair for line in leading_comments(sql) if (pair := directive(line))]))


def release_lines(sql: str) -> list[tuple[str, str]]:
    """`phase`, `min_app` and `allow` from the leading comments, in their order; nothing is checked."""
    found = []
    for line in leading_comments(sql):
        if match := _RELEASE.fullmatch(line):
            key = match[1].lower().replace(" ", "_").replace("-", "_")
            found.append(("min_app" if key.startswith("min") else key, match[2].strip()))
    return found


def leading_comments(sql: str) -> list[str]:
    """The `--` lines before anything else; there may be blank lines between them."""
    lines = filter(None, map(str.strip, sql.split("\n")))
    return list(takewhile(lambda line: line.startswith("--"), lines))


def directive(line: str) -> tuple[str, str] | None:
    """Key and value of a line that sets one of the known keys, else None."""
    match = _DIRECTIVE.fullmatch(line.strip())
    if match is None:
        return None
    key, value = match[1].lower(), match[2].strip()
    return ("description", value) if key == "description" else ("foreign_keys", value.lower())
