"""`tenants check` where users changed full-text tables: the repair keeps their rows, or says what would go."""

import json
from pathlib import Path
from typing import Any

from tests.support.fleet import Fleet, opened

FIRST = """-- description: Places and letters
-- allow: FH109 no tenant of this app is on Turso's engine
CREATE VIRTUAL TABLE place USING fts5(name, ref UNINDEXED, tokenize='unicode61');
CREATE TABLE letter (id TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL);
CREATE VIRTUAL TABLE letter_text USING fts5(body, content='letter');
CREATE TRIGGER letter_ai AFTER INSERT ON letter BEGIN
  INSERT INTO letter_text (rowid, body) VALUES (new.rowid, new.body);
END;
CREATE TRIGGER letter_ad AFTER DELETE ON letter BEGIN
  INSERT INTO letter_text (letter_text, rowid, body) VALUES ('delete', old.rowid, old.body);
END;
CREATE TRIGGER letter_au AFTER UPDATE ON letter BEGIN
  INSERT INTO letter_text (letter_text, rowid, body) VALUES ('delete', old.rowid, old.body);
  INSERT INTO letter_text (rowid, body) VALUES (new.rowid, new.body);
END;
CREATE VIRTUAL TABLE word USING fts5(text, content='');
"""
ROWS = """INSERT INTO place (rowid, name, ref) VALUES (7, 'Lisboa', 'r1'), (9, 'Porto', 'r2');
INSERT INTO letter (rowid, id, body) VALUES (3, 'a', 'apples'), (5, 'b', 'pears');
INSERT INTO word (rowid, text) VALUES (1, 'kitab');
"""
COPY = "CREATE TABLE old AS SELECT rowid AS n, * FROM place; DROP TABLE place;"
# By tenant: what somebody did, and what the repair must leave as it was.
DRIFTED = {
    "tokenizer": f"{COPY} CREATE VIRTUAL TABLE place USING fts5(name, ref UNINDEXED, tokenize='trigram');"
    "INSERT INTO place (rowid, name, ref) SELECT * FROM old; DROP TABLE old",
    "plain": f"{COPY} CREATE TABLE place (number INTEGER PRIMARY KEY, name, ref);"
    "INSERT INTO place SELECT * FROM old; DROP TABLE old",
    "dropped": "DROP TABLE letter_text",
    "numbers": "CREATE TABLE more (id TEXT NOT NULL PRIMARY KEY, body TEXT NOT NULL, extra);"
    "INSERT INTO more (rowid, id, body) SELECT rowid, id, body FROM letter; DROP TABLE letter;"
    "ALTER TABLE more RENAME TO letter",
    "own": "CREATE VIRTUAL TABLE mine USING fts5(x); INSERT INTO mine VALUES ('y')",
}


def _checked(place: Fleet) -> dict[str, dict[str, Any]]:
    done = place.run("tenants", "check", "--json")
    return {line["tenant_id"]: line for line in map(json.loads, done.stdout.splitlines())}


def test_the_repair_of_full_text_tables_keeps_rows_and_marks_what_it_removes(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "0001_begin.sql").write_text(FIRST)
    with opened("local", tmp_path / "data") as place:
        place.environ["SCHEMA_REGISTRY"] = str(folder)
        done = place.run("registry", "publish")
        assert done.returncode == 0, done.stderr
        place.provision(*DRIFTED, "sound", "nothing")
        names = place.databases_of()
        for tenant, name in names.items():
            place.script(name, ROWS + DRIFTED.get(tenant, ""))
        place.script(
            names["nothing"], "DROP TABLE word; CREATE VIRTUAL TABLE word USING fts5(text, content='', detail=none)"
        )

        first = _checked(place)
        assert first["sound"]["verdict"] == "same"
        assert {first[tenant]["verdict"] for tenant in DRIFTED} == {"drifted"}
        assert first["nothing"]["repair"] == []
        assert "word keeps no texts" in " ".join(first["nothing"]["reasons"])
        assert "-- drops the table mine with all its rows" in first["own"]["repair"]
        assert "-- drops the column letter.extra with all its values" in first["numbers"]["repair"]
        for tenant in DRIFTED:
            marks = [line for line in first[tenant]["repair"] if line.startswith("-- drops")]
            assert bool(marks) is (tenant in ("own", "numbers", "plain")), first[tenant]["repair"]
            place.script(names[tenant], "\n".join(first[tenant]["repair"]))
        second = _checked(place)
        assert {tenant: second[tenant]["verdict"] for tenant in DRIFTED} == dict.fromkeys(DRIFTED, "same")
        for tenant in DRIFTED:
            ask = place.ask(names[tenant], "SELECT rowid, ref FROM place WHERE place MATCH 'porto'")
            assert ask == [(9, "r2")], tenant
            assert place.ask(names[tenant], "SELECT rowid, id FROM letter ORDER BY 1") == [(3, "a"), (5, "b")]
            found = place.ask(names[tenant], "SELECT rowid FROM letter_text WHERE letter_text MATCH 'pears'")
            assert found == [(5,)], tenant
