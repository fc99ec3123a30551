"""Advice on a refusal, by its cause: SQLite says what it refuses, not what to do about it."""

import re

# The first match counts.
_REFUSALS = (
    (
        r"sqlite_(master|schema) may not be modified|unsafe use of virtual table",
        "It is a line of a dump that writes to SQLite's own table. Leave it out, and write the statement it stands "
        "for: `CREATE VIRTUAL TABLE … USING …`.",
    ),
    (
        r"reserved for internal use",
        "Names that start with `sqlite_` are SQLite's own and come by themselves (`sqlite_sequence` with "
        "AUTOINCREMENT, shadow tables with their virtual table). Leave the statement out.",
    ),
    (
        r"may not be (modified|dropped|altered|indexed)",
        "The table belongs to the engine or to a full-text table. Change the table that it belongs to.",
    ),
    (
        r"already exists|already another table or index|there is already|duplicate column name",
        "An earlier version has made it. Use another name, or change what exists: ALTER TABLE, or DROP first.",
    ),
    (
        r"no such (module|function)",
        "SQLite does not have it; only one engine does. Use what all support, or leave it to the app.",
    ),
    (
        r"no such collation",
        "A collation of the app's own exists neither on the server nor in a fresh database. Use BINARY, NOCASE or "
        "RTRIM.",
    ),
    (
        r"error in (view|trigger|index)",
        "What the message names uses the table or column that is changed here. Drop it before the change, and "
        "create it again afterwards.",
    ),
    (
        r"no such (table|column|index|view|trigger)",
        "No earlier version or statement creates it: look at the spelling and the order. If it may or may not exist, "
        "write DROP … IF EXISTS.",
    ),
    (
        r"foreign key mismatch",
        "A foreign key refers to columns that are neither a primary key nor UNIQUE. Change that, or refer to others.",
    ),
    (
        r"reference a row that is not there|FOREIGN KEY constraint failed",
        "A row that this version writes or keeps refers to a row that does not exist. Write parents before their "
        "children, and keep both.",
    ),
    (
        r"(UNIQUE|NOT NULL|CHECK) constraint failed|datatype mismatch|cannot store",
        "A row that a migration itself has written violates the constraint: correct that row, or fix it in an "
        "earlier statement.",
    ),
    (
        r"cannot add a (UNIQUE|PRIMARY KEY|NOT NULL|REFERENCES)|Cannot add a|non-constant default",
        "ALTER TABLE cannot do this. Rebuild the table: `freehold registry diff` writes that.",
    ),
    (
        r"cannot drop|cannot rename|cannot modify",
        "Something stands on it: a key, an index, a view or a CHECK. Drop that first, or rebuild the table: "
        "`freehold registry diff` writes that.",
    ),
    (r"values for|columns but|columns were supplied", "Name the columns, and give one value for each."),
    (r"incomplete input", "The statement ends before it is whole: a parenthesis, CASE or trigger is not closed."),
    (
        r'near "(ALTER|COLUMN|TO)"|ALTER COLUMN',
        "SQLite does not support this. `ALTER COLUMN … TO` is libSQL's alone. Rebuild the table: `freehold "
        "registry diff` writes that.",
    ),
    (
        r"unrecognized token|syntax error",
        "It is no SQL that SQLite knows. Correct it where the message points; shell commands (`.mode`) and other "
        "databases' dialects do not work here.",
    ),
    (r"transaction", "Leave out BEGIN, COMMIT and the like: a migration runs in one transaction anyway."),
    (r"interrupted|too (big|many|large|complex)|out of memory", "It is too much for one migration: divide it."),
)

_FILES = (
    (r"byte order mark", "Save the file as UTF-8 without a byte order mark."),
    (r"is not UTF-8", "Save the file as UTF-8; the message has the first line that is not."),
    (r"over the limit", "Divide it into several migrations, each with the next number."),
    (r"versions start at 1", "Give it a number from 0001 on."),
    (
        r"^expected ",
        "Rename it to NNNN_snake_case_name.sql, e.g. 0002_add_tags.sql. `freehold registry new NAME` creates files "
        "with the right name; other SQL belongs in another folder.",
    ),
    (r"", "Make sure that the file exists and may be read by the user who runs this."),
)

_NAMES = ((r"a name is snake_case", "Rename it: a-z, 0-9 and single _ between words, 100 characters at most."),)

_INDEXES = (
    (
        r"can no longer be read",
        "Drop it too, or make it again over what exists now, with the new names and filled by `INSERT INTO f (f) "
        "VALUES ('rebuild')`.",
    ),
)

_BY_CODE = {"FH118": _INDEXES, "FH001": _NAMES, "FH010": _REFUSALS, "FH020": _FILES}


def fix_of(code: str, reason: str) -> str | None:
    """Return the advice for this reason; None if the rule's own `fix` is all there is."""
    for pattern, fix in _BY_CODE.get(code, ()):
        if re.search(pattern, reason, re.IGNORECASE):
            return fix
    return None
