"""`tenants check`: drift is told, and its repair repairs it; on files, on a real sqld and on Turso's twin."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.fleet import KINDS, Fleet, fleet

HEAD = 9
ENTRY = """INSERT INTO dictionary_entries (id, word, translation, type, created_at, updated_at)
  VALUES ('e', 'w', 't', 'noun', 1, 1);
INSERT INTO flashcards (id, dictionary_entry_id, direction, due, created_at, updated_at)
  VALUES ('f', 'e', 'forward', 1, 1, 1);
"""
# By tenant: what somebody did to the database, and what is told. All have an entry with a flashcard.
DRIFTED = {
    "index": ("DROP INDEX flashcards_due", ["index flashcards_due is missing"]),
    "trigger": (
        "DROP TRIGGER revlog_added; CREATE TRIGGER revlog_added AFTER INSERT ON revlog BEGIN DELETE FROM decks; END",
        ["trigger revlog_added is another"],
    ),
    "table": (
        'CREATE TABLE "stray\nDROP TABLE decks;" (x); INSERT INTO "stray\nDROP TABLE decks;" VALUES (1)',
        ["table stray DROP TABLE decks; should not be there"],
    ),
    "column": (
        "ALTER TABLE decks ADD COLUMN colour TEXT; ALTER TABLE dictionary_entries RENAME COLUMN root TO roots",
        ["column decks.colour should not be there", "column dictionary_entries.root is missing"],
    ),
    "parent": (
        "PRAGMA foreign_keys = OFF; CREATE TABLE draft AS SELECT * FROM dictionary_entries;"
        "DROP TABLE dictionary_entries; ALTER TABLE draft RENAME TO dictionary_entries",
        ["column dictionary_entries.id is another"],
    ),
    "refused": (
        "ALTER TABLE dictionary_entries RENAME COLUMN word TO words; ALTER TABLE dictionary_entries ADD word TEXT;"
        "PRAGMA foreign_keys = OFF; DROP TABLE decks; CREATE TABLE decks (id, name);"
        "INSERT INTO decks VALUES ('d', ''), ('d', '')",
        ["column decks.name is another"],
    ),
}  # fmt: skip
DIVERGED = {
    "history": ("UPDATE freehold_ledger SET chain = 'ab' WHERE version = 9", "another history at version 9"),
    "early": ("UPDATE freehold_ledger SET chain = 'ab' WHERE version = 3", "another history at version 3"),
    "gap": ("DELETE FROM freehold_ledger WHERE version = 3", "another history at version 3"),
    "ahead": (
        "INSERT INTO freehold_ledger SELECT 10, 9, 'x', checksum, 'ab', chain, applied_at FROM freehold_ledger"
        " WHERE version = 9",
        "its ledger is at version 10, and the registry ends at 9",
    ),
    "forgotten": ("DELETE FROM freehold_ledger WHERE version > 4", "at version 4, and its schema is that of version 9"),
    "gone": ("DROP TABLE freehold_ledger", "at version 0, and its schema is that of version 9"),
    "lost": (
        "DROP TABLE freehold_ledger; CREATE TABLE stray (x)",
        "it has tables, and its ledger says that nothing was applied",
    ),
}
BEHIND = "DROP INDEX flashcards_due; DELETE FROM freehold_ledger WHERE version = 9"
OTHERS = ("sound", "behind", "ruined", "asleep")


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    with fleet(request.param) as place:
        yield place


def checked(place: Fleet, *tenants: str) -> dict[str, dict[str, Any]]:
    """By tenant, what the command says."""
    done = place.run("tenants", "check", "--json", *tenants)
    found = {line["tenant_id"]: line for line in map(json.loads, done.stdout.splitlines())}
    is_sound = {line["verdict"] for line in found.values()} <= {"same", "suspended"}
    assert done.returncode == (0 if is_sound else 1), done.stderr
    return found


def test_each_kind_of_drift_is_told_and_its_repair_repairs_it_or_none_is_offered(place: Fleet) -> None:
    place.provision(*DRIFTED, *DIVERGED, *OTHERS)
    names = place.databases_of()
    for tenant, name in names.items():
        done = {**DRIFTED, **DIVERGED, "behind": (BEHIND,)}.get(tenant, ("",))[0]
        place.script(name, f"{ENTRY}{done}")
    place.ruin(names["ruined"])
    assert place.run("tenants", "suspend", "asleep").returncode == 0

    first = checked(place)
    assert first.keys() == names.keys()
    for tenant, (_, told) in DRIFTED.items():
        assert first[tenant]["verdict"] == "drifted", first[tenant]
        for reason in told:
            assert reason in " ".join("; ".join(first[tenant]["reasons"]).split()), first[tenant]
    for tenant, (_, reason) in DIVERGED.items():
        assert (first[tenant]["verdict"], first[tenant]["repair"]) == ("diverged", []), first[tenant]
        assert reason in first[tenant]["reasons"][0]
    assert {tenant: first[tenant]["verdict"] for tenant in ("sound", "behind", "ruined")} == {
        "sound": "same",
        "behind": "same",
        "ruined": "unreadable",
    }
    assert first["asleep"]["verdict"] == "suspended", first["asleep"]

    for tenant in DRIFTED.keys() - {"refused"}:
        place.script(names[tenant], "\n".join(first[tenant]["repair"]))
    repair = "\n".join(first["refused"]["repair"])
    before = place.ask(names["refused"], "SELECT count(*) FROM decks")
    with pytest.raises(Exception, match=r"(?i)constraint"):
        place.script(names["refused"], repair)
    assert place.ask(names["refused"], "SELECT count(*) FROM decks") == before == [(2,)]
    place.script(names["refused"], "DELETE FROM decks; UPDATE dictionary_entries SET word = words")
    place.script(names["refused"], repair)

    second = checked(place, *DRIFTED)
    assert {tenant: one["verdict"] for tenant, one in second.items()} == dict.fromkeys(DRIFTED, "same")
    for tenant in DRIFTED:
        assert place.ask(names[tenant], "SELECT word FROM dictionary_entries") == [("w",)]
        assert place.ask(names[tenant], "SELECT dictionary_entry_id FROM flashcards") == [("e",)]


def test_as_text_what_is_lost_stands_in_the_script_and_the_rest_beside_it() -> None:
    with fleet("local") as place:
        place.provision("table", "column", "sound")
        names = place.databases_of()
        for tenant in ("table", "column"):
            place.script(names[tenant], DRIFTED[tenant][0])
        done = place.run("tenants", "check")
        assert (done.returncode, "3 databases: 2 not as they should be" in done.stderr) == (1, True)
        for tenant in ("table", "column"):
            for told in DRIFTED[tenant][1]:
                assert f"{names[tenant]} at version {HEAD}: {told}" in done.stderr
        # A line end in a name, which its user chose, ends no comment.
        assert "\n-- drops the table stray DROP TABLE decks; with all its rows\n" in done.stdout
        assert "\n-- drops the column decks.colour with all its values\n" in done.stdout
        alone = place.run("tenants", "check", names["sound"], "user-column")
        assert (alone.returncode, "2 databases: 1 not as" in alone.stderr) == (1, True)
        [script] = [part for part in done.stdout.split("-- t-") if part.startswith(names["column"][2:])]
        assert alone.stdout == f"-- t-{script}"
        nobody = place.run("tenants", "check", "nobody")
        assert (nobody.returncode, "there is no tenant `nobody`" in nobody.stderr) == (1, True)
