"""Rules about engines and clients: where a statement runs alike, or can be read at all."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from freehold.migrate.canonical import closing, items, unwrapped
from freehold.migrate.split import tokens
from freehold.registry.lint.findings import Problem, Rule
from freehold.registry.lint.step import Parsed, Step
from freehold.sql.tokens import Kind

_ENGINE_FUNCTIONS = {
    "readfile": "only SQLite's shell has it",
    "load_extension": "no server allows it",
    "libsql_vector_idx": "only libSQL has it",
    **dict.fromkeys(("uuid4_str", "gen_random_uuid", "uuid7"), "only Turso's engine has it"),
    **dict.fromkeys(
        ("vector", "vector32", "vector64", "vector_extract", "vector_distance_cos"), "only libSQL and Turso have it"
    ),
}
_AGGREGATES = {"group_concat", "string_agg", "json_group_array", "json_group_object", "sum", "total", "count", "avg"}


def _engine_specific(step: Step) -> Iterator[Problem]:
    for one in step.statements:
        for reason in _engine_reasons(one.words):
            yield Problem(reason, one.number)
        if old := (one.renamed[0] or one.renamed_column[0]):
            for reason in _rename_reasons(step, one, old):
                yield Problem(reason, one.number)


def _rename_reasons(step: Step, one: Parsed, old: str) -> Iterator[str]:
    """SQLite updates everything that uses the old name; Turso's engine does not."""
    for view in step.walked.rewritten.get(one.number, ()):
        yield f"the view {view} gets the new name here, and keeps the old one on Turso's engine; drop it before"
    for index in step.before.indexes.values():
        if index.table == old and one.renamed[0] and (old, ".") in pairwise(map(unwrapped, index.shape)):
            yield f"the index {index.name} gets the new name here, and keeps the old one on Turso's engine"


def _engine_reasons(words: tuple[str, ...]) -> Iterator[str]:
    kind, pairs = words[:2], {*pairwise(words)}
    is_table, is_change = kind == ("create", "table"), kind == ("alter", "table")
    parts = [item.words for item in items(words)[0]] if is_table else [words] if is_change and "add" in words else []
    has_check = is_table and any("check" in part and part[-2:-1] == ("conflict",) for part in parts)
    has_generated = any(("as", "(") in pairwise(part) for part in parts)
    has_vector = is_table and not {"f32_blob", "f64_blob", "f1bit_blob"}.isdisjoint(words)
    for is_so, reason in (
        (kind == ("create", "virtual"), "Turso's engine has no such virtual tables (FTS5, R-tree)"),
        (kind == ("create", "materialized"), "only Turso's engine has materialized views"),
        ("trigger" in words[:4] and ("instead", "of") in pairs, "Turso's engine refuses INSTEAD OF triggers"),
        (_has_ordered_aggregate(words), "Turso's engine refuses ORDER BY inside an aggregate function, and so does "
                                        "SQLite before 3.44"),
        (has_check, "Turso's engine refuses CHECK with ON CONFLICT"),
        (is_table and ("without", "rowid") in pairs, "Turso's engine refuses WITHOUT ROWID"),
        (is_change and ("alter", "column") in pairs, "ALTER COLUMN is libSQL's alone"),
        (has_generated, "Turso's engine refuses generated columns"),
        (is_table and ("random", "rowid") in pairs, "only libSQL has RANDOM ROWID"),
        (has_vector, "only libSQL and Turso have vector types"),
    ):  # fmt: skip
        if is_so:
            yield reason
    for word, after in pairwise(words):
        if after == "(" and word in _ENGINE_FUNCTIONS:
            yield f"{word}(): {_ENGINE_FUNCTIONS[word]}"


def _has_ordered_aggregate(words: Sequence[str]) -> bool:
    return any(
        word in _AGGREGATES and words[at + 1 : at + 2] == ("(",) and _orders(words[at + 2 : closing(words, at + 1)])
        for at, word in enumerate(words)
    )


def _orders(words: Sequence[str]) -> bool:
    depth = 0
    for word, after in pairwise(words):
        depth += (word == "(") - (word == ")")
        if not depth and (word, after) == ("order", "by"):
            return True
    return False


ENGINE_SPECIFIC = Rule(
    code="FH109",
    slug="engine-specific",
    why="A tenant's database is SQLite on one device, libSQL on the server and Turso's engine on the next device. SQL "
    "that one of them refuses or interprets differently leaves databases with different schemas.",
    fix="Use what all three support; `freehold registry test` runs it on each. Waive it if all your clients and "
    "servers use the same engine.",
    check=_engine_specific,
)


QUOTED_STRINGS = Rule(
    code="FH124",
    slug="double-quoted-string",
    only_new=True,
    why="A string is written in double quotes. SQLite treats it as a string as long as no column has that name, and as "
    "the column otherwise. Turso's engine, and any SQLite built without this feature (better-sqlite3, SQLite's own "
    "shell), refuse it. If it is in a CHECK, an index, a view or a trigger, they cannot even open the database.",
    fix="Write it in single quotes: 'text'. If it was meant as a name, correct the name.",
    check=lambda step: (
        Problem(f"nothing is called {', '.join(found[:3])}, so SQLite takes it for a string", number)
        for number, found in step.walked.strings.items()
    ),
)


def _lower_case_using(step: Step) -> Iterator[Problem]:
    for one in step.statements:
        if one.words[:2] != ("create", "virtual"):
            continue
        sql = one.piece.sql
        words = (sql[start:end] for kind, start, end in tokens(sql) if kind is Kind.WORD)
        using = next((word for word in words if word.upper() == "USING"), "USING")
        if using != "USING":
            yield Problem(f"`{using}` is not written in capitals", one.number)


LOWER_CASE_USING = Rule(
    code="FH125",
    slug="lower-case-using",
    only_new=True,
    why="Turso's sync clients (@tursodatabase/sync 0.7, pyturso 0.8) read the schema with a parser that recognises a "
    "virtual table only by USING in capitals. With `using` they do not connect at all: `Expected 'USING' in module "
    "name`.",
    fix="Write USING in capitals.",
    check=_lower_case_using,
)

ENGINE_RULES = (ENGINE_SPECIFIC, QUOTED_STRINGS, LOWER_CASE_USING)
