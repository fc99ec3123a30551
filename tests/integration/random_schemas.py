"""Random schemas with all that makes a migration hard, and rows that fit every one of them.

Rows fit by construction: texts of a column differ in more than case and spaces, at most one is NULL, checks hold
always, and references are to rows that are there. So whatever stops a migration over them is a fault of it.
"""

import re
from random import Random

from msgspec import Struct

from freehold.migrate.names import quoted

TYPES = ["INTEGER", "TEXT", "REAL", "BLOB", "VARCHAR(20)", "NUMERIC", ""]
COLUMNS = ["a", "b", "c", "Odd name", "order", "rowid", "oid"]
TABLES = ["t", "u", "V_w", "Group"]
KEYS = [
    "id INTEGER PRIMARY KEY",
    "id INTEGER PRIMARY KEY AUTOINCREMENT",
    "id INTEGER PRIMARY KEY DESC",
    "id INTEGER NOT NULL PRIMARY KEY ON CONFLICT IGNORE",
    "id TEXT NOT NULL PRIMARY KEY",
    "id TEXT COLLATE NOCASE PRIMARY KEY",
    "id INTEGER",
    "'id' TEXT NOT NULL UNIQUE",
    "num INTEGER PRIMARY KEY, id INTEGER",
]
EXTRAS = [
    *[""] * 6,
    "COLLATE NOCASE",
    "COLLATE RTRIM",
    "NOT NULL DEFAULT 'x'",
    'DEFAULT "Quoted"',
    "DEFAULT Bare",
    "DEFAULT (1 + 2)",
    "UNIQUE",
    "UNIQUE ON CONFLICT IGNORE",
    "UNIQUE ON CONFLICT REPLACE",
    "COLLATE NOCASE UNIQUE ON CONFLICT REPLACE",
    "NOT NULL ON CONFLICT REPLACE DEFAULT 'x'",
    "NOT NULL",
]
CHECKS = ["CHECK ({} IS NOT 'never (;)')", 'CHECK ({} IS NOT "Never")', 'CHECK ({} IS NOT "never")', "CHECK (1)"]
DEFERRALS = ["", "NOT DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED", "DEFERRABLE INITIALLY IMMEDIATE"]
ACTIONS = ["", "ON DELETE CASCADE", "ON DELETE SET NULL ON UPDATE CASCADE"]
TOKENIZERS = ["", "", ", tokenize='porter'", ', tokenize="unicode61 remove_diacritics 2"', ", tokenize='ascii'"]
FTS5 = ["", "", ", prefix='2 3'", ", detail=column", ", detail=none", ", columnsize=0"]
_REFERENCE = re.compile(r', parent TEXT REFERENCES "([^"]+)" \(id\)[^,)]*')
_STRINGS = ["'x y'", '"x y"', '"X y"', "'X y'"]
WORDS = ["running", "Apples", "pear", "Lisboa", "porto", "über", "straße", "fig"]


class Made(Struct):
    """A schema: for each table its statements, the table first, so that two schemas can share some."""

    tables: dict[str, list[str]]
    rest: dict[str, list[str]]

    @property
    def statements(self) -> list[str]:
        """In an order in which they can run."""
        found = [sql for part in (self.tables, self.rest) for each in part.values() for sql in each]
        order = ["TABLE", "VIRTUAL", "INDEX", "UNIQUE", "VIEW", "TRIGGER"]
        return sorted(found, key=lambda sql: order.index(sql.split()[1]))


def schema(random: Random) -> Made:
    """Any."""
    names = random.sample(TABLES, random.randint(1, len(TABLES)))
    tables = {name: table(random, name, names) for name in names}
    return _completed(random, Made(tables, {}))


def changed(random: Random, before: Made) -> Made:
    """One that shares most with another."""
    tables = dict(before.tables)
    for name in list(tables):
        choice = random.random()
        if choice < 0.08 and len(tables) > 1:
            del tables[name]
        elif choice < 0.5:
            tables[name] = table(random, name, list(before.tables))
    if random.random() < 0.3:
        name = random.choice(TABLES)
        tables[name] = table(random, name, [*tables])
    made = Made(tables, {} if random.random() < 0.4 else dict(before.rest))
    return _completed(random, made)


def _completed(random: Random, made: Made) -> Made:
    """With indexes over tables, full text and views, and without what stands on tables that are not there."""
    for name, statements in list(made.tables.items()):
        reference = _REFERENCE.search(statements[0])
        if reference and not _is_parent(made.tables.get(reference[1], [""])[0]):
            made.tables[name] = [_REFERENCE.sub("", statements[0]), *statements[1:]]
    plain = [name for name, each in made.tables.items() if not each[0].startswith("CREATE VIRTUAL")]
    for key in list(made.rest):
        owner = key.split("/")[1]
        if owner not in plain or not _used(made.rest[key]) <= _columns(made.tables[owner][0]):
            del made.rest[key]
    for name in plain:
        if random.random() < 0.45:
            made.rest[f"search/{name}"] = search(random, name, made.tables[name][0])
        if random.random() < 0.3:
            made.rest[f"view/{name}"] = [
                f"CREATE VIEW {quoted('see ' + name)} AS SELECT id, 'x' AS \"Label\" FROM {quoted(name)}",
                f"CREATE VIEW {quoted('over ' + name)} AS SELECT count(*) AS n FROM {quoted('see ' + name)}",
            ]
        if random.random() < 0.3:
            made.rest[f"log/{name}"] = log(random, name)
    return made


def _is_parent(sql: str) -> bool:
    """Whether rows of others may reference its id."""
    return any(f"({key}" in sql for key in KEYS if "PRIMARY KEY" in key.split(", ")[-1] or "UNIQUE" in key)


def _columns(sql: str) -> set[str]:
    named = {column for column in COLUMNS if f"{quoted(column)} " in sql}
    number = _number(sql)
    return {*named, number, *(["_rowid_"] if number == "id" else [])}


def _number(sql: str) -> str:
    """What reads the number of a row; empty if rows have none."""
    if "(num " in sql:
        return "num"
    key = sql.partition(",")[0]
    is_number = "(id INTEGER" in sql and "PRIMARY KEY" in key and "DESC" not in key
    return "id" if is_number else "" if "WITHOUT ROWID" in sql else "_rowid_"


def _used(statements: list[str]) -> set[str]:
    named = {column for column in COLUMNS if any(f"new.{quoted(column)}" in sql for sql in statements)}
    numbers = [name for name in ("num", "id", "_rowid_") if any(f"(new.{name}," in sql for sql in statements)]
    return {*named, *numbers}


def table(random: Random, name: str, names: list[str]) -> list[str]:
    """A table and its indexes."""
    choice = random.random()
    if choice < 0.12:
        return [fts(random, name)]
    if choice < 0.18:
        return [tree(random, name)]
    columns = random.sample(COLUMNS, random.randint(1, 4))
    key = random.choice(KEYS)
    parts = [key]
    for column in columns:
        kind = random.choice(TYPES)
        words = [quoted(column), kind, random.choice(EXTRAS)]
        if random.random() < 0.15:
            words.append(random.choice(CHECKS).format(quoted(column)))
        parts.append(" ".join(words).strip() + " ")
    if random.random() < 0.25:
        parts.append("made TEXT GENERATED ALWAYS AS (id || '/') " + random.choice(["", "VIRTUAL", "STORED"]))
    if random.random() < 0.35:
        parent = random.choice(names)
        actions = f"{random.choice(ACTIONS)} {random.choice(DEFERRALS)}"
        parts.append(f"parent TEXT REFERENCES {quoted(parent)} (id) {actions}".strip())
    if random.random() < 0.2:
        order = random.choice(["", " DESC", " COLLATE NOCASE"])
        parts.append(f"UNIQUE (id, {quoted(columns[0])}{order}){random.choice(['', ' ON CONFLICT REPLACE'])}")
    tail = " WITHOUT ROWID" if key == "id TEXT NOT NULL PRIMARY KEY" and random.random() < 0.4 else ""
    made = [f"CREATE TABLE {quoted(name)} ({', '.join(parts)}){tail}"]
    for number in range(random.choice([0, 0, 1, 2])):
        made.append(index(random, name, random.choice(columns), number))
    return made


def index(random: Random, name: str, column: str, number: int) -> str:
    """An index of any kind over one column."""
    part = random.choice(["{}", "{} DESC", "{} COLLATE NOCASE", "{} COLLATE BINARY ASC", "lower({})"])
    where = random.choice(["", "", f" WHERE {quoted(column)} > 'a'", f" WHERE {quoted(column)} > 'A'"])
    unique = random.choice(["", "", "UNIQUE "])
    return (
        f"CREATE {unique}INDEX {quoted(f'i{number} {name}')} ON {quoted(name)} "
        f"({part.format(quoted(column))}){where if not unique else ''}"
    )


def fts(random: Random, name: str) -> str:
    """A full-text table that holds its rows itself."""
    if random.random() < 0.3:
        columns = ", ".join(random.sample(["a", "b", "c"], random.randint(1, 3)))
        return f"CREATE VIRTUAL TABLE {quoted(name)} USING fts4({columns}{random.choice(['', ', tokenize=porter'])})"
    columns = ", ".join(
        column + random.choice(["", "", " UNINDEXED"])
        for column in random.sample(["id", "a", "b"], random.randint(1, 3))
    )
    options = random.choice(TOKENIZERS) + random.choice(FTS5)
    return f"CREATE VIRTUAL TABLE {quoted(name)} USING fts5({columns}{options})"


def tree(random: Random, name: str) -> str:
    """An R-tree with something beside its numbers."""
    pairs = random.sample(["x0, x1", "y0, y1", "z0, z1"], random.randint(1, 3))
    return f"CREATE VIRTUAL TABLE {quoted(name)} USING rtree(id, {', '.join(pairs)}{random.choice(['', ', +a'])})"


def search(random: Random, name: str, sql: str) -> list[str]:
    """A full-text index over a table, and the triggers that keep it in step."""
    columns = [column for column in COLUMNS[:5] if f"{quoted(column)} " in sql]
    number = _number(sql)
    chosen = [column for column in columns if column not in ("Odd name", "order")][:2]
    if not chosen or not number:
        return []
    index_name = quoted(f"{name} text")
    listed = ", ".join(map(quoted, chosen))
    new, old = (", ".join(f"{row}.{quoted(column)}" for column in chosen) for row in ("new", "old"))
    shown = quoted(f"{name} shown")
    direct = f"content={quoted(name)}, content_rowid={quoted(number)}"
    content = random.choice([direct] * 3 + ["content=''", f"content={shown}, content_rowid=number"])
    more = []
    if shown in content:
        more = [f"CREATE VIEW {shown} AS SELECT {number} AS number, {listed} FROM {quoted(name)}"]
    if random.random() < 0.2:
        more.append(f"CREATE VIRTUAL TABLE {quoted(name + ' words')} USING fts5vocab({quoted(name + ' text')}, 'row')")
    head = (
        f"CREATE VIRTUAL TABLE {index_name} USING fts5({listed}, {content}{random.choice(TOKENIZERS)}"
        f"{random.choice(FTS5)})"
    )
    add = f"INSERT INTO {index_name} (rowid, {listed}) VALUES (new.{number}, {new});"
    gone = f"INSERT INTO {index_name} ({index_name}, rowid, {listed}) VALUES ('delete', old.{number}, {old});"
    on = f"ON {quoted(name)} BEGIN"
    return [
        head,
        *more,
        f"CREATE TRIGGER {quoted(name + ' ai')} AFTER INSERT {on} {add} END",
        f"CREATE TRIGGER {quoted(name + ' ad')} AFTER DELETE {on} {gone} END",
        f"CREATE TRIGGER {quoted(name + ' au')} AFTER UPDATE {on} {gone} {add} END",
    ]


def log(random: Random, name: str) -> list[str]:
    """Triggers of one moment, in some order."""
    made = [
        f"CREATE TRIGGER {quoted(f'{letter} {name}')} AFTER DELETE ON {quoted(name)}"
        f"{random.choice(['', ' FOR EACH ROW'])} BEGIN SELECT old.id, {random.choice(_STRINGS)}; END"
        for letter in "xyz"[: random.randint(1, 3)]
    ]
    random.shuffle(made)
    return made


def value(random: Random, kind: str, row: int) -> str:
    """Something for a column of this affinity, another one for each row."""
    word = f"{random.choice(WORDS)} {random.choice(WORDS)} {row}"
    choices = [f"'{word}'", f"'{word}'", str(row * 7), f"{row}.5", f"x'{row:02x}ff'"]
    return choices[0] if kind == "text" else random.choice(choices)
