"""From a declared schema to migrations that are sealed, sound and alike on every engine: one shop's story."""

from collections import Counter
from pathlib import Path

import pytest
from testbed.servers import missing

from freehold.providers.engines.engines import ENGINES, EngineMissing, require_engines
from tests.integration.test_registry_cli import Freehold, freehold, objects  # noqa: F401 - a fixture

FIRST = """-- The shop
CREATE TABLE customer (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  email VARCHAR(80) NOT NULL COLLATE NOCASE UNIQUE, -- one each
  name TEXT,
  created_at TEXT DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE "order" (
  id TEXT PRIMARY KEY NOT NULL,
  customer_id INTEGER NOT NULL REFERENCES customer (id) ON DELETE CASCADE,
  total INTEGER NOT NULL CHECK (total >= 0),
  state TEXT NOT NULL DEFAULT 'new' CHECK (state IN ('new', 'paid; sent', 'done'))
);
CREATE TABLE order_line (
  order_id TEXT NOT NULL REFERENCES "order" (id) ON DELETE CASCADE,
  n INTEGER NOT NULL,
  price REAL,
  PRIMARY KEY (order_id, n)
);
CREATE INDEX order_customer ON "order" (customer_id);
CREATE INDEX customer_lower ON customer (lower(name)) WHERE name IS NOT NULL;
CREATE VIEW open_order AS
  SELECT o.id, c.email FROM "order" o JOIN customer c ON c.id = o.customer_id WHERE o.state <> 'done';
CREATE VIEW open_count AS SELECT email, count(*) AS n FROM open_order GROUP BY 1;
CREATE TRIGGER order_gone AFTER DELETE ON "order" BEGIN
  UPDATE customer SET name = name || ';' WHERE id = OLD.customer_id;
END;
"""
SECOND = (
    FIRST.replace("  name TEXT,\n", "  full_name TEXT NOT NULL DEFAULT 'it''s; unknown',\n  phone TEXT UNIQUE,\n")
    .replace("created_at TEXT DEFAULT CURRENT_TIMESTAMP", "created_at TEXT, score REAL NOT NULL DEFAULT 1.5")
    .replace("total INTEGER NOT NULL CHECK (total >= 0)", "total TEXT NOT NULL CHECK (total >= '0')")
    .replace("price REAL,", "price REAL NOT NULL, kind TEXT NOT NULL,")
    .replace("CREATE INDEX customer_lower ON customer (lower(name)) WHERE name IS NOT NULL;\n", "")
    .replace("SET name = name ||", "SET full_name = full_name ||")
    + """CREATE TABLE tag (name TEXT PRIMARY KEY NOT NULL, "order" TEXT REFERENCES "order" (id));
CREATE INDEX line_kind ON order_line (kind);
CREATE VIEW kinds AS SELECT kind FROM order_line;
"""
)
ROWS = """INSERT INTO customer (id, email, name, created_at) VALUES (3, 'a@b', 'Amal', 'x'), (9, 'c@d', NULL, NULL);
INSERT INTO "order" (id, customer_id, total, state) VALUES ('o1', 3, 5, 'new'), ('o2', 9, 0, 'paid; sent');
INSERT INTO order_line VALUES ('o1', 1, 1.5), ('o1', 2, NULL), ('o2', 1, 2);
"""


@pytest.mark.parametrize("is_renamed", [False, True])
def test_a_shop_grows_from_one_schema_to_the_next_without_losing_a_row(
    freehold: Freehold,  # noqa: F811
    *,
    is_renamed: bool,
) -> None:
    try:
        require_engines(ENGINES)
    except EngineMissing as error:
        missing(str(error))
    for file in freehold.files.iterdir():
        file.unlink()
    schema = freehold.files.parent / "schema.sql"
    words = ("--schema", str(schema))
    schema.write_text(FIRST)
    assert freehold.run("diff", "open_shop", *words).exit_code == 0
    assert freehold.run("diff", "more", *words, "--check").exit_code == 0
    (freehold.files / "fixtures").mkdir()
    (freehold.files / "fixtures" / "0001.sql").write_text(ROWS)

    schema.write_text(SECOND)
    renames = ("--rename", "customer.name=full_name") if is_renamed else ()
    if not is_renamed:
        added = freehold.run("diff", "add_more", *words)
        for left in ("customer.name is gone", "order.total was integer and is text", "order_line.kind is NOT NULL"):
            assert left in added.stderr
    assert freehold.run("diff", "tidy_up", *words, *renames, "--min-app", "2.0").exit_code == 0
    last = freehold.run("diff", "more", *words, "--check")
    assert (last.exit_code, "leads to this schema already" in last.stderr) == (0, True)

    assert freehold.run("seal").exit_code == 0
    linted = freehold.run("lint", "--strict")
    assert {line.split()[2] for line in linted.stderr.splitlines() if " warning " in line or " error " in line} <= {
        "FH105",
        "FH120",
        "FH126",
    }
    tried = objects(freehold.run("test", "--json"))
    assert [each["faults"] for each in tried] == [[]] * len(tried)
    heads = 2 if is_renamed else 3
    assert Counter(str(each["engine"]) for each in tried) == dict.fromkeys(ENGINES, heads + 1)
    assert {each["rows"] for each in tried if each["from"]} == {7}


def test_a_declaration_opens_no_other_file(freehold: Freehold, tmp_path: Path) -> None:  # noqa: F811
    other, schema = tmp_path / "other.db", tmp_path / "schema.sql"
    schema.write_text(f"CREATE TABLE t (a);\nATTACH '{other}' AS other; CREATE TABLE other.t (a);")
    done = freehold.run("diff", "take_over", "--schema", str(schema))
    assert done.exit_code == 1
    assert "schema.sql: statement 2, line 2: ATTACH is refused" in done.stderr
    assert not other.exists()


@pytest.mark.parametrize(
    "declared", ["", " \n\t", "-- nothing here\n/* nor here; */", ";;", "CREATE TEMP TABLE t (a);", "SELECT 1;"]
)
def test_a_declaration_of_nothing_is_refused_and_drops_nothing(
    freehold: Freehold,  # noqa: F811
    declared: str,
) -> None:
    before = {path.name: path.read_bytes() for path in freehold.files.iterdir()}
    schema = freehold.files.parent / "schema.sql"
    schema.write_text(declared)
    for more in ((), ("--min-app", "2.0"), ("--check",), ("--dry-run",)):
        done = freehold.run("diff", "take_over", "--schema", str(schema), *more)
        assert (done.exit_code, "declares no table" in done.stderr, done.stdout) == (1, True, ""), done.stderr
    assert {path.name: path.read_bytes() for path in freehold.files.iterdir()} == before
