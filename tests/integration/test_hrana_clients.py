"""The official Python clients, unmodified, against the gateway."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import libsql_client
import pytest

from tests.support.gateway_app import Caller, served


@pytest.fixture
async def db(tmp_path: Path) -> AsyncIterator[Caller]:
    async with served(tmp_path) as running:
        yield await running.database("t-1")


async def test_libsql_client_executes_and_batches(db: Caller) -> None:
    async with libsql_client.create_client(db.url, auth_token=db.token) as client:
        await client.batch(["create table t(a integer primary key, b, c unique)", "create table u(a)"])
        made = await client.execute("insert into t(b, c) values (?, ?)", [b"\x00\xff", 2**53 + 1])
        assert (made.rows_affected, made.last_insert_rowid) == (1, 1)
        found = await client.execute("select b, c, ?, ?, ? from t", [None, 1.5, "é"])
        assert found.columns[:2] == ("b", "c")
        assert tuple(found.rows[0]) == (b"\x00\xff", 2**53 + 1, None, 1.5, "é")
        named = await client.execute("select :a, :b", {"a": 1, "b": "x"})
        assert tuple(named.rows[0]) == (1, "x")
        results = await client.batch([("insert into u values (?)", [1]), "select * from u"])
        assert tuple(results[1].rows[0]) == (1,)


async def test_libsql_client_sees_codes_and_words(db: Caller) -> None:
    async with libsql_client.create_client(db.url, auth_token=db.token) as client:
        await client.execute("create table t(a unique)")
        with pytest.raises(libsql_client.LibsqlError, match="UNIQUE constraint failed") as failed:
            await client.batch(["insert into t values (1)", "insert into t values (1)"])
        assert failed.value.code == "SQLITE_CONSTRAINT"
        assert (await client.execute("select count(*) from t")).rows[0][0] == 0  # a batch is a transaction there
        with pytest.raises(libsql_client.LibsqlError, match="syntax error"):
            await client.execute("selec")
    async with libsql_client.create_client(db.url, auth_token="wrong") as client:
        with pytest.raises(libsql_client.LibsqlError, match="not valid") as failed:
            await client.execute("select 1")
        assert failed.value.code == "BAD_DATABASE_TOKEN"


# Its calls hold the interpreter while they wait for the network, so it cannot share one with the server.
_LIBSQL = """
import json, sys
import libsql

url, token = sys.argv[1:]
db = libsql.connect(database=url, auth_token=token)
out = {}
db.execute("create table t(a integer primary key, b unique)")
db.commit()
made = db.execute("insert into t(b) values (?)", ("x",))
out["lastrowid"] = made.lastrowid
db.commit()
try:
    db.execute("insert into t(b) values (?)", ("x",))
except Exception as error:
    out["error"] = str(error)
db.rollback()
db.execute("insert into t(b) values ('gone')")
db.rollback()
db.execute("insert into t(b) values ('kept')")
db.commit()
db.executemany("insert into t(b) values (?)", [(2**31 - 1,), (1.5,)])
db.commit()
db.executescript("create table u(a); insert into u values (1); insert into u values (2);")
out["values"] = [row[0] for row in db.execute("select b from t order by a").fetchall()]
out["blob"] = list(db.execute("select x'00ff'").fetchone()[0])
out["count"] = db.execute("select count(*) from u").fetchone()[0]
try:
    libsql.connect(database=url, auth_token=token + "x").execute("select 1")
except Exception as error:
    out["refused"] = str(error)
print(json.dumps(out))
"""


async def test_libsql_reads_writes_and_rolls_back(db: Caller) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", _LIBSQL, db.url, db.token],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    assert out["lastrowid"] == 1
    assert "UNIQUE constraint failed: t.b" in out["error"]
    assert out["values"] == ["x", "kept", 2**31 - 1, 1.5]
    assert (out["blob"], out["count"]) == ([0, 255], 2)
    assert "401" in out["refused"]
