"""Files: what a connection leaves behind when it closes, and how often a migration makes it read the schema."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from freehold.libsql.protocol import Batch, BatchStep, Stmt
from freehold.providers.sqlite.budget import Budget
from freehold.providers.sqlite.connection import EMPTY_DATABASE, LOG_TARGET_BYTES, open_connection
from freehold.providers.sqlite.limits import Limits
from freehold.providers.sqlite.pipeline import Pipeline
from freehold.providers.sqlite.rules import Authorizer
from freehold.providers.sqlite.schema import KnownSchema
from freehold.providers.sqlite.session import Session
from freehold.sql.facts import Facts

DOUBLING = [
    "create view w0 as select 1 x",
    *(f"create view w{i} as select a.x from w{i - 1} a, w{i - 1} b" for i in range(1, 24)),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "one.db"
    file.write_bytes(EMPTY_DATABASE)
    return file


def batch(*sqls: str) -> Batch:
    return Batch(tuple(BatchStep(Stmt(sql=sql, want_rows=False)) for sql in sqls))


def errors(session: Session, *sqls: str) -> list[str | None]:
    session.start_request(Limits())
    found = Pipeline(session, {}, Budget(1_000_000), is_ours=True).batch(batch(*sqls)).step_errors
    return [None if error is None else error.message for error in found]


class _Closing:
    """A connection that copies the database's file alone just before it is closed."""

    def __init__(self, connection: Any, path: Path) -> None:
        self._connection = connection
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def close(self, force: bool) -> None:
        shutil.copy(self._path, self._path.with_name("copy.db"))
        self._connection.close(force)


@pytest.mark.parametrize("kilobytes", [1, 3000])
def test_the_log_is_in_the_file_before_the_connection_closes(path: Path, kilobytes: int) -> None:
    """The binding holds the interpreter lock while it closes, and must not wait for the disk meanwhile."""
    session = Session(path, Limits(), read_only=False)
    assert not any(errors(session, "create table t (x)", f"insert into t values (randomblob({kilobytes}000))"))
    assert not any(errors(session, "begin", "delete from t"))  # which it rolls back
    session._connection = _Closing(session._connection, path)  # type: ignore[assignment]
    session.close()
    assert sorted(each.name for each in path.parent.iterdir()) == ["copy.db", "one.db"]
    with sqlite3.connect(path.with_name("copy.db")) as copy:
        assert copy.execute("select length(x) from t").fetchall() == [(kilobytes * 1000,)]


def test_a_connection_closes_while_another_reads(path: Path) -> None:
    session, other = (Session(path, Limits(), read_only=False) for _ in range(2))
    assert not any(errors(session, "create table t (x)", "insert into t values (1)"))
    assert not any(errors(other, "begin", "select * from t"))
    assert not any(errors(session, "insert into t values (randomblob(2000000))"))
    session.close()
    assert not any(errors(other, "select * from t", "commit", "insert into t values (3)"))
    other.close()
    with sqlite3.connect(path) as after:
        assert after.execute("select count(*) from t").fetchall() == [(3,)]


def test_the_log_is_cut_to_its_target_when_it_begins_again(path: Path) -> None:
    connection = open_connection(path, Limits(), Authorizer(read_only=False), read_only=False)
    connection.authorizer = None
    assert connection.execute("PRAGMA journal_size_limit").get == LOG_TARGET_BYTES
    assert connection.execute("PRAGMA max_page_count").get == Limits().database_bytes // 4096
    connection.close()


def test_a_migration_of_plain_tables_reads_the_schema_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Facts] = []
    read = KnownSchema._read

    def counted(known: KnownSchema) -> Facts:
        reads.append(read(known))
        return reads[-1]

    monkeypatch.setattr(KnownSchema, "_read", counted)
    session = Session(path, Limits(), read_only=False)
    tables = [f"create table t{number} (x)" for number in range(5)]
    plain = [*tables, "alter table t1 add column y", "create index i on t1 (y)", "drop table t2"]
    assert not any(errors(session, "begin immediate", *plain, "commit"))
    assert len(reads) == 1
    # From the first view on, each change is looked at again.
    assert not any(errors(session, "begin immediate", "create table t6 (x)", *DOUBLING[:3], "commit"))
    assert len(reads) == 4
    session.close()


def test_views_made_after_tables_in_the_same_transaction_are_known(path: Path) -> None:
    session = Session(path, Limits(), read_only=False)
    found = errors(session, "begin immediate", "create table t (x)", "create table u (x)", *DOUBLING)
    assert not any(found[:8])
    assert "too large" in next(filter(None, found))
    session.close()
