"""The schema that ships: it applies from every earlier version, keeps what is in it, and guards what comes."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from freehold.migrate.apply import Applied, apply
from freehold.migrate.sqlite import SqliteTarget
from tests.integration.migrate_parts import BAHAR, bahar, change, query

HEAD = len(bahar())
REBUILT = 8  # tighten_dictionary_entries
DAY_MS = 86_400_000

# Rows as an app writes them once the version is there; the untidy ones are what later versions must take.
FIXTURES: dict[int, list[str]] = {
    1: [
        "INSERT INTO dictionary_entries VALUES "
        "('e1', 'كِتَاب', 'book', 'kitāb', 'كتب', 'noun', NULL, '[\"school\"]', 1, 2),"
        "('e2', 'كَتَبَ', 'to write', NULL, 'كتب', 'Verb', 'it''s; done', NULL, 1, 2),"
        "('e3', 'في', 'in', 'fī', NULL, 'particle', NULL, 'school, home', 1, 2),"
        "('e4', 'إن شاء الله', 'God willing', NULL, NULL, NULL, NULL, '[]', 1, 2)"
    ],
    2: [
        "INSERT INTO flashcards (id, dictionary_entry_id, direction, due, created_at, updated_at) "
        "SELECT id || '-' || d, id, d, 5, 1, 2 FROM dictionary_entries, "
        "(SELECT 'forward' AS d UNION SELECT 'reverse')"
    ],
    3: ["INSERT INTO decks VALUES ('d1', 'Verbs', '{\"types\": [\"verb\"]}', 0, 1, 2)"],
    4: ["UPDATE settings SET new_cards_per_day = 7, updated_at = 3"],
    5: ["UPDATE user_stats SET streak_days = 3"],
    6: [
        "UPDATE dictionary_entries SET plural = 'كُتُب', gender = 'Masculine' WHERE id = 'e1'",
        "UPDATE dictionary_entries SET verb_forms = '{\"present\": \"يكتب\"}', examples = 'none' WHERE id = 'e2'",
    ],
    7: [
        f"INSERT INTO revlog VALUES ('r{n}', 'e1-forward', 3, {state}, 5, 0, 0, 0, 0, {n * DAY_MS + 7}, 900)"
        for n, state in ((1, 0), (1.5, 1), (2, 2))
    ],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tenant.db"


async def bring(path: Path, to: int = HEAD) -> Applied:
    return await apply(SqliteTarget(path), bahar(), to=to)


async def live_through(path: Path, to: int) -> None:
    """Bring it to a version step by step, with an app that writes its rows at each."""
    for version in range(1, to + 1):
        await bring(path, version)
        change(path, *FIXTURES.get(version, []))


def test_the_files_are_named_as_the_registry_wants_them() -> None:
    assert [one.version for one in bahar()] == list(range(1, HEAD + 1))
    assert len(list(BAHAR.glob("*.sql"))) == HEAD >= 7


@pytest.mark.parametrize("start", range(HEAD + 1))
async def test_head_is_reached_from_every_version_and_no_row_is_lost(path: Path, start: int) -> None:
    await live_through(path, start)
    before = counts(path)

    assert await bring(path) == Applied(HEAD, tuple(range(start + 1, HEAD + 1)))
    assert await bring(path) == Applied(HEAD, ())

    after = counts(path)
    assert {table: after[table] for table in before if table != "freehold_ledger"} == {
        table: count for table, count in before.items() if table != "freehold_ledger"
    }
    assert query(path, "PRAGMA foreign_key_check") == []
    assert query(path, "PRAGMA integrity_check") == [("ok",)]


async def test_the_schema_does_not_depend_on_where_it_came_from(tmp_path: Path) -> None:
    schemas = []
    for start in (0, 1, REBUILT - 1):
        path = tmp_path / f"{start}.db"
        await live_through(path, start)
        await bring(path)
        schemas.append(query(path, "SELECT type, name, sql FROM sqlite_schema ORDER BY name"))
    assert schemas[0] == schemas[1] == schemas[2]


async def test_the_rebuild_keeps_every_flashcard_and_mends_what_its_checks_refuse(path: Path) -> None:
    await live_through(path, REBUILT - 1)
    cards, reviews = query(path, "SELECT * FROM flashcards"), query(path, "SELECT * FROM revlog")
    assert len(cards) == 8
    await bring(path)
    assert query(path, "SELECT * FROM flashcards") == cards
    assert query(path, "SELECT * FROM revlog") == reviews
    assert query(path, "SELECT id, type, tags, gender, examples FROM dictionary_entries ORDER BY id") == [
        ("e1", "noun", '["school"]', "masculine", "[]"),
        ("e2", "verb", "[]", None, "[]"),
        ("e3", "expression", "[]", None, "[]"),
        ("e4", "expression", "[]", None, "[]"),
    ]
    change(path, "DELETE FROM dictionary_entries WHERE id = 'e1'")
    assert query(path, "SELECT count(*) FROM flashcards") == [(6,)]
    assert query(path, "SELECT count(*) FROM revlog") == [(0,)]


async def test_a_review_moves_the_totals(path: Path) -> None:
    await bring(path)
    change(path, entry("e1"), *FIXTURES[2], *FIXTURES[7])
    assert query(path, "SELECT * FROM review_days ORDER BY day") == [(1, 2, 1), (2, 1, 0)]
    assert query(path, "SELECT total_reviews, last_review_at FROM user_stats") == [(3, 2 * DAY_MS + 7)]


async def test_settings_and_stats_are_there_from_the_start_and_only_once(path: Path) -> None:
    await bring(path)
    assert query(path, "SELECT show_reverse_flashcards, new_cards_per_day, updated_at FROM settings") == [(0, 10, 0)]
    assert query(path, "SELECT streak_days, last_review_at FROM user_stats") == [(0, None)]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO settings (id) VALUES (2)",
        "UPDATE settings SET show_reverse_flashcards = 2",
        "UPDATE settings SET desired_retention = 1",
        "INSERT INTO user_stats (id) VALUES (2)",
        "UPDATE dictionary_entries SET type = 'adjective'",
        "UPDATE dictionary_entries SET tags = 'a, b'",
        "UPDATE dictionary_entries SET gender = 'neuter'",
        "UPDATE flashcards SET state = 4",
        "UPDATE flashcards SET direction = 'sideways'",
        "UPDATE flashcards SET direction = 'forward'",
        "UPDATE flashcards SET dictionary_entry_id = 'nobody'",
        "INSERT INTO decks (id, name, created_at, updated_at) VALUES ('d', '', 1, 1)",
        "INSERT INTO revlog VALUES ('r', 'nobody', 3, 0, 5, 0, 0, 0, 0, 1, 1)",
        "INSERT INTO revlog VALUES ('r', 'e1-forward', 5, 0, 5, 0, 0, 0, 0, 1, 1)",
    ],
)
async def test_what_makes_no_sense_is_refused(path: Path, sql: str) -> None:
    await bring(path)
    change(path, entry("e1"), *FIXTURES[2])
    with pytest.raises(sqlite3.IntegrityError):
        change(path, sql)


async def test_due_flashcards_are_read_from_the_index(path: Path) -> None:
    await bring(path)
    with closing(sqlite3.connect(path)) as connection:
        plan = connection.execute(
            "EXPLAIN QUERY PLAN SELECT id FROM flashcards WHERE is_hidden = 0 AND direction = 'forward' AND due <= 9 "
            "ORDER BY due LIMIT 20"
        ).fetchall()
    assert [row[3] for row in plan] == [
        "SEARCH flashcards USING INDEX flashcards_due (is_hidden=? AND direction=? AND due<?)"
    ]


async def test_nothing_in_it_is_refused_by_another_engine_or_differs_from_one_run_to_the_next() -> None:
    for one in bahar():
        code = " ".join(line.split("--")[0] for line in one.sql.upper().splitlines())
        for word in ("GENERATED ALWAYS", "WITHOUT ROWID", "VIRTUAL", "STRICT", "CURRENT_TIME", "RANDOM", "'NOW'"):
            assert word not in code, f"{one.name}: {word}"


def entry(entry_id: str) -> str:
    return (
        "INSERT INTO dictionary_entries (id, word, translation, type, created_at, updated_at) "
        f"VALUES ('{entry_id}', 'كِتَاب', 'book', 'noun', 1, 2)"
    )


def counts(path: Path) -> dict[str, int]:
    tables = query(path, "SELECT name FROM sqlite_schema WHERE type = 'table'") if path.exists() else []
    return {name: query(path, f'SELECT count(*) FROM "{name}"')[0][0] for (name,) in tables}
