"""`freehold registry`: lint, publish, status, and what their exit codes mean."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from testbed.servers import ROOT, clean_environ

from freehold.cli.registry import registry
from tests.integration.registry_parts import by_hand


class Freehold:
    """The command in a folder and an installation of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.files = tmp_path / "files"
        self.files.mkdir()
        self.data_dir = tmp_path / "data"
        self.environ = {"DATA_DIR": str(self.data_dir), "SCHEMA_REGISTRY": str(self.files)}

    def write(self, **scripts: str) -> None:
        for name, sql in scripts.items():
            (self.files / f"{name.lstrip('_')}.sql").write_text(sql)

    def run(self, *words: str, **environ: str) -> Result:
        return CliRunner().invoke(registry, words, env={**self.environ, **environ})


@pytest.fixture
def freehold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Freehold:
    monkeypatch.chdir(tmp_path)
    for name in set(os.environ) - set(clean_environ()):
        if name.isupper() and not name.startswith("PYTEST"):
            monkeypatch.delenv(name)
    opened = Freehold(tmp_path)
    opened.write(_0001_create_a="CREATE TABLE a (x);\n", _0002_create_b="CREATE TABLE b (x);\n")
    return opened


def objects(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("words", [[], ["new"], ["diff"], ["lint"], ["seal"], ["test"], ["publish"], ["status"]])
def test_every_verb_has_help_that_ends_with_examples(freehold: Freehold, words: list[str]) -> None:
    result = freehold.run(*words, "--help")
    assert result.exit_code == 0
    assert "freehold registry" in result.stdout.split("Examples:")[1]


KEYED = {"_0001_create_a": "CREATE TABLE a (x PRIMARY KEY);\n", "_0002_create_b": "CREATE TABLE b (x PRIMARY KEY);\n"}


def test_lint_says_that_sound_files_are_sound(freehold: Freehold) -> None:
    freehold.write(**KEYED)
    assert "there is no such file in this folder" in freehold.run("lint").stderr
    assert freehold.run("lint", "--strict").exit_code == 1
    assert freehold.run("seal").stdout.splitlines() == ["sealed 0001_create_a.sql", "sealed 0002_create_b.sql"]
    assert freehold.run("seal").stdout == ""
    result = freehold.run("lint", "--strict")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["0001_create_a.sql", "0002_create_b.sql"]
    assert result.stderr == "2 migrations are sound\n"
    for words in ((), ("--format", "github")):
        assert [each["version"] for each in objects(freehold.run("lint", "--json", *words))] == [1, 2]


def test_a_sealed_file_is_sealed_again_only_when_told_so(freehold: Freehold) -> None:
    freehold.write(**KEYED)
    freehold.run("seal")
    freehold.write(_0002_create_b="CREATE TABLE b (x PRIMARY KEY, y);\n")
    refused = freehold.run("seal")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "--again 7: there is no such version" in freehold.run("seal", "--again", "7").stderr
    assert "use --again 2 if no database has it" in refused.stderr
    assert freehold.run("lint").exit_code == 1
    assert freehold.run("seal", "--again", "2").stdout == "sealed 0002_create_b.sql\n"
    assert freehold.run("lint", "--strict").exit_code == 0


def test_lint_writes_annotations_for_github(freehold: Freehold) -> None:
    freehold.write(_0003_drop_a="-- why\nDROP TABLE a;\n")
    result = freehold.run("lint", str(freehold.files), "--format", "github")
    assert result.exit_code == 1
    [line] = [line for line in result.stdout.splitlines() if line.startswith("::error ")]
    place = f"file={freehold.files}/0003_drop_a.sql,line=2,title=FH101 destructive-change"
    assert line.startswith(f"::error {place}::table a is dropped, with all its rows%0A")


def test_lint_compares_with_what_a_commit_had(freehold: Freehold) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        subprocess.run(["git", *who, *words], cwd=freehold.files, check=True, capture_output=True)

    git("init", "-q")
    assert "git knows no commit `HEAD`" in freehold.run("lint", "--base", "HEAD").stderr
    freehold.run("seal")
    git("add", "-A")
    git("commit", "-qm", "one")
    assert freehold.run("lint", "--base", "HEAD").exit_code == 0
    freehold.write(_0001_create_a="CREATE TABLE a (x, y);\n")
    freehold.run("seal", "--again", "1")
    assert freehold.run("lint").exit_code == 0
    edited = freehold.run("lint", "--base", "HEAD")
    assert (edited.exit_code, "FH023 edited" in edited.stderr) == (1, True)


def test_lint_touches_no_installation(freehold: Freehold) -> None:
    assert freehold.run("lint").exit_code == 0
    assert not freehold.data_dir.exists()


def test_lint_tells_every_fault_and_exits_1(freehold: Freehold) -> None:
    freehold.write(_0004_gap="COMMIT;")
    result = freehold.run("lint", str(freehold.files))
    assert result.exit_code == 1
    assert result.stdout == ""
    faults = [each for each in objects(freehold.run("lint", "--json")) if each["severity"] == "error"]
    assert [(each["file"], each["code"]) for each in faults] == [("0004_gap.sql", "FH021"), ("0004_gap.sql", "FH003")]
    assert all(str(each["fault"]) in result.stderr and str(each["fix"]) in result.stderr for each in faults)


def test_lint_of_a_folder_without_migrations_exits_1(freehold: Freehold, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = freehold.run("lint", str(tmp_path / "empty"))
    assert (result.exit_code, "no migrations" in result.stderr) == (1, True)


def test_wrong_use_exits_2(freehold: Freehold) -> None:
    assert freehold.run("lint", "nowhere").exit_code == 2
    assert freehold.run("publish", "--overwrite").exit_code == 2
    assert freehold.run("unpublish").exit_code == 2


def test_bad_settings_exit_3_and_name_the_variable(freehold: Freehold) -> None:
    result = freehold.run("status", PORT="many")
    assert result.exit_code == 3
    assert "PORT" in result.stderr


def test_a_dry_run_publishes_nothing(freehold: Freehold) -> None:
    result = freehold.run("publish", "--dry-run")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["would publish 0001_create_a.sql", "would publish 0002_create_b.sql"]
    [report] = objects(freehold.run("publish", "--dry-run", "--json"))
    assert report == {
        "published": [1, 2],
        "already": 0,
        "version": 2,
        "without_file": [],
        "renewed": True,
        "dry_run": True,
    }


def test_publishing_twice_is_safe(freehold: Freehold) -> None:
    assert freehold.run("publish").stdout.splitlines() == ["published 0001_create_a.sql", "published 0002_create_b.sql"]
    again = freehold.run("publish")
    assert (again.exit_code, again.stdout) == (0, "")
    assert "2 were published before; the registry is at version 2" in again.stderr
    freehold.write(_0003_create_c="CREATE TABLE c (x);\n")
    [report] = objects(freehold.run("publish", "--json"))
    assert (report["published"], report["already"]) == ([3], 2)


def test_status_compares_files_and_registry(freehold: Freehold) -> None:
    before = freehold.run("status")
    assert (before.exit_code, before.stdout.count("pending")) == (1, 2)
    freehold.run("publish")
    after = freehold.run("status")
    assert (after.exit_code, after.stdout.count("published")) == (0, 2)
    freehold.write(_0002_create_b="CREATE TABLE b (x, y);\n", _0003_create_c="CREATE TABLE c (x);\n")
    result = freehold.run("status", "--json")
    assert result.exit_code == 1
    assert [(each["version"], each["state"]) for each in objects(result)] == [
        (1, "published"),
        (2, "changed"),
        (3, "pending"),
    ]
    (freehold.files / "0002_create_b.sql").unlink()
    (freehold.files / "0003_create_c.sql").unlink()
    fewer = freehold.run("status", "--json")
    assert [each["state"] for each in objects(fewer)] == ["published", "no file"]
    assert fewer.exit_code == 0


def test_a_changed_file_is_refused_with_exit_code_1(freehold: Freehold) -> None:
    freehold.run("publish")
    freehold.write(_0001_create_a="CREATE TABLE a (x, y);\n", _0003_create_c="CREATE TABLE c (x);\n")
    for words in (["publish"], ["publish", "--dry-run"], ["publish", "--json"]):
        result = freehold.run(*words)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "migration 1 was already published with other SQL; restore the file" in result.stderr
    assert [each["state"] for each in objects(freehold.run("status", "--json"))][2] == "pending"


def test_a_tampered_registry_exits_1_and_says_so(freehold: Freehold) -> None:
    freehold.run("publish")
    [path] = [path for path in freehold.data_dir.glob("*") if path.suffix in {".db", ".sqlite"}]
    by_hand(path, "UPDATE published_migration SET sql = 'DROP TABLE a;' WHERE version = 2")
    result = freehold.run("status")
    assert result.exit_code == 1
    assert "published migration 2 was tampered with" in result.stderr


def test_the_script_that_operators_know_publishes_too(freehold: Freehold) -> None:
    script = [sys.executable, str(ROOT / "scripts" / "register_schema_migrations.py")]
    environ = clean_environ(**freehold.environ)
    helped = subprocess.run([*script, "--help"], env=environ, capture_output=True, text=True, check=True)
    assert "--dry-run" in helped.stdout
    done = subprocess.run([*script, str(freehold.files)], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["published 0001_create_a.sql", "published 0002_create_b.sql"]


# Writing the next one ------------------------------------------------------------------------------


def test_new_writes_the_next_file_and_never_over_another(freehold: Freehold) -> None:
    result = freehold.run("new", "add_tags")
    assert result.stdout == f"{freehold.files}/0003_add_tags.sql\n"
    text = (freehold.files / "0003_add_tags.sql").read_text()
    assert text.startswith("-- description: Add tags\n-- phase: expand\n")
    assert "FH002 empty" in freehold.run("lint").stderr
    (freehold.files / "0003_add_tags.sql").write_text(text + "CREATE TABLE tags (x);\n")
    assert freehold.run("lint").exit_code == 0
    assert freehold.run("new", "Bad Name").exit_code == 1
    [made] = objects(freehold.run("new", "more", "--folder", str(freehold.files), "--json"))
    assert (made["version"], made["path"]) == (4, f"{freehold.files}/0004_more.sql")


def test_diff_writes_what_adds_first_and_the_rest_only_for_newer_apps(freehold: Freehold) -> None:
    schema = freehold.files.parent / "schema.sql"
    schema.write_text("CREATE TABLE a (x, y TEXT NOT NULL DEFAULT 'n');\nCREATE TABLE c (id INTEGER PRIMARY KEY);\n")
    words = ("--schema", str(schema))
    assert freehold.run("diff", "tidy_up", *words, "--check").exit_code == 1
    shown = freehold.run("diff", "add_c", *words, "--dry-run")
    assert "CREATE TABLE c (id INTEGER PRIMARY KEY);" in shown.stdout
    assert freehold.run("diff", "drop_b", *words, "--min-app", "2.0").exit_code == 1  # not before what adds

    first = freehold.run("diff", "add_c", *words)
    assert first.stdout == f"{freehold.files}/0003_add_c.sql\n"
    assert "left for a contract migration (--min-app): table b is dropped" in first.stderr
    again = freehold.run("diff", "add_c", *words)
    assert (again.exit_code, again.stdout, "nothing to add" in again.stderr) == (0, "", True)
    assert freehold.run("diff", "drop_b", *words, "--min-app", "2.0").exit_code == 0
    text = (freehold.files / "0004_drop_b.sql").read_text()
    assert "-- phase: contract\n-- min_app: 2.0\n" in text
    assert 'DROP TABLE "b";' in text
    same = freehold.run("diff", "more", *words, "--check")
    assert (same.exit_code, "leads to this schema already" in same.stderr) == (0, True)
    assert freehold.run("lint").exit_code == 0
    assert freehold.run("publish").exit_code == 0


def test_diff_reads_sqlalchemy_metadata_and_rebuilds_where_it_must(
    freehold: Freehold, monkeypatch: pytest.MonkeyPatch
) -> None:
    (freehold.files.parent / "shop_models.py").write_text(
        """from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase): ...

class Shop(Base):
    __tablename__ = "shop"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)

class Item(Base):
    __tablename__ = "item"
    __table_args__ = (CheckConstraint("price >= 0"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    shop_id: Mapped[int] = mapped_column(ForeignKey("shop.id", ondelete="CASCADE"))
    price: Mapped[float]
"""
    )
    for file in freehold.files.iterdir():
        file.unlink()
    freehold.write(
        _0001_begin="CREATE TABLE shop (id INTEGER PRIMARY KEY, name VARCHAR);\n"
        "CREATE TABLE item (id INTEGER PRIMARY KEY, shop_id INTEGER NOT NULL REFERENCES shop (id) ON DELETE CASCADE,"
        " price FLOAT NOT NULL);\n"
    )
    words = ("--schema", "shop_models:Base")
    assert freehold.run("diff", "index_names", *words).exit_code == 0
    assert "CREATE INDEX ix_shop_name ON shop (name);" in (freehold.files / "0002_index_names.sql").read_text()
    rest = freehold.run("diff", "tighten", *words, "--min-app", "3")
    assert "made up: shop.name becomes NOT NULL: rows without a value get ''" in rest.stderr
    text = (freehold.files / "0003_tighten.sql").read_text()
    assert "-- foreign_keys: off\n" in text
    assert 'DROP TABLE "shop";' in text
    assert freehold.run("diff", "more", *words, "--check").exit_code == 0
    for wrong in ("shop_models:Nobody", "shop_models:Mapped", "nowhere:Base", "nowhere.sql"):
        assert freehold.run("diff", "more", "--schema", wrong).exit_code == 1


MODELS = """from sqlalchemy import DDL, ForeignKey, event
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase): ...

class Owner(Base):
    __tablename__ = "owner"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(index=True, unique=True)
    first_pet: Mapped[int | None] = mapped_column(ForeignKey("pet.id"))

class Pet(Base):
    __tablename__ = "pet"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("owner.id"))
    age: Mapped[int]

event.listen(Base.metadata, "after_create", DDL("CREATE VIEW young AS SELECT id FROM pet WHERE age < 2"))
"""


def test_metadata_gives_all_that_it_would_create_and_leaves_views_and_triggers_that_it_cannot_know(
    freehold: Freehold, recwarn: pytest.WarningsRecorder
) -> None:
    for file in freehold.files.iterdir():
        file.unlink()
    models = freehold.files.parent / "pet_models.py"
    models.write_text(MODELS)
    first = freehold.run("diff", "begin", "--schema", "pet_models:Base", "--json")
    [made] = objects(first)
    assert (made["version"], made["left"], first.exit_code) == (1, [], 0), first.stderr
    sql = str(made["sql"])
    assert "CREATE UNIQUE INDEX ix_owner_email" in sql
    assert "CREATE VIEW young" in sql
    assert not recwarn.list  # of tables that reference each other
    freehold.write(
        _0002_by_hand="CREATE TRIGGER aged AFTER UPDATE ON pet BEGIN DELETE FROM pet WHERE age > 99; END;\n"
        "CREATE VIEW emails AS SELECT email FROM owner;\nCREATE VIEW ages AS SELECT age FROM pet;\n"
    )
    words = ("--schema", "pet_models:Base")
    assert freehold.run("diff", "more", *words, "--check").exit_code == 0
    # Another name for the file: a module is read once in a process.
    (freehold.files.parent / "older_pet_models.py").write_text(MODELS.replace("age: Mapped[int]", "age: Mapped[str]"))
    words = ("--schema", "older_pet_models:Base")
    told = freehold.run("diff", "more", *words, "--check", "--json")
    assert (told.exit_code, objects(told)[0]["left"]) == (1, ["pet.age was integer and is varchar now"])
    assert freehold.run("diff", "more", *words, "--min-app", "2").exit_code == 0
    assert freehold.run("diff", "again", *words, "--check").exit_code == 0
    assert 'DROP VIEW "emails"' not in (freehold.files / "0003_more.sql").read_text()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import nothing_there", "cannot be imported (ModuleNotFoundError: No module named 'nothing_there')"),
        ("def f(:", "cannot be imported (SyntaxError"),
        ("1 / 0", "cannot be imported (ZeroDivisionError"),
        ("raise SystemExit(0)", "cannot be imported (SystemExit"),
        ("from sqlalchemy import *\nm = MetaData()", "has no tables; import the modules that declare them"),
        (
            "from sqlalchemy import *\nfrom sqlalchemy.dialects.postgresql import ARRAY\nm = MetaData()\n"
            "Table('t', m, Column('a', ARRAY(Integer)))",
            "can't render element of type ARRAY",
        ),
        (
            "from sqlalchemy import *\nm = MetaData()\nTable('t', m, Column('a', Integer, ForeignKey('nope.id')))",
            "could not find table 'nope'",
        ),
    ],
)
def test_models_that_cannot_be_used_are_told_in_a_line(freehold: Freehold, code: str, told: str) -> None:
    name = f"models_{abs(hash(code))}"
    (freehold.files.parent / f"{name}.py").write_text(code)
    done = freehold.run("diff", "more", "--schema", f"{name}:m")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{name}:m: ")
    assert told in done.stderr
    assert isinstance(done.exception, SystemExit)


def test_what_cannot_be_read_as_a_schema_is_told_with_its_reason(freehold: Freehold) -> None:
    (freehold.files.parent / "latin.sql").write_bytes(b"CREATE TABLE caf\xe9 (x);")
    (freehold.files.parent / "open.sql").write_text("CREATE TABLE a (x 'b);")
    for name, told in (
        ("nowhere.sql", "No such file or directory"),
        ("files", "Is a directory"),
        ("latin.sql", "is not UTF-8 text"),
        ("open.sql", "line 1: this string is not closed"),
    ):
        done = freehold.run("diff", "more", "--schema", name)
        assert (done.exit_code, done.stdout, told in done.stderr) == (1, "", True), done.stderr


def test_diff_says_as_json_what_it_would_write(freehold: Freehold) -> None:
    schema = freehold.files.parent / "schema.sql"
    schema.write_text("CREATE TABLE a (x);\nCREATE TABLE b (x, y);\n")
    for words in (("--dry-run",), ("--check",)):
        [shown] = objects(freehold.run("diff", "add_y", "--schema", str(schema), "--json", *words))
        assert 'ALTER TABLE "b" ADD COLUMN y;' in str(shown.pop("sql"))
        assert shown == {"version": 3, "name": "add_y", "path": None, "made_up": [], "left": []}
    assert not (freehold.files / "0003_add_y.sql").exists()
    schema.write_text("CREATE TABLE a (x);\nCREATE TABLE b (x);\n")
    [shown] = objects(freehold.run("diff", "add_y", "--schema", str(schema), "--json"))
    assert (shown["version"], shown["sql"], shown["left"]) == (None, None, [])


def test_diff_renames_only_what_it_is_told_to(freehold: Freehold) -> None:
    schema = freehold.files.parent / "schema.sql"
    schema.write_text("CREATE TABLE words (word);\nCREATE TABLE b (x);\n")
    words = ("--schema", str(schema), "--rename", "a=words", "--rename", "words.x=word")
    assert "needs --min-app" in freehold.run("diff", "name_words", *words).stderr
    assert freehold.run("diff", "name_words", *words, "--min-app", "2").exit_code == 0
    text = (freehold.files / "0003_name_words.sql").read_text()
    assert 'ALTER TABLE "a" RENAME TO "words";\n\nALTER TABLE "words" RENAME COLUMN "x" TO "word";' in text
    assert freehold.run("lint").exit_code == 0
    assert freehold.run("diff", "more", *words[:2], "--check").exit_code == 0
    assert freehold.run("diff", "more", *words[:2], "--rename", "x", "--min-app", "2").exit_code == 1
    assert freehold.run("diff", "more", *words[:2], "--rename", "no=yes", "--min-app", "2").exit_code == 1
