"""`libsql` of PyPI, and `libsql-experimental`, which has its interface: a remote database, or a replica of one."""

import importlib
import os
from typing import Any

from tests.e2e.clients.python.parts import TOKEN, URL, is_told, play

libsql: Any = importlib.import_module(os.environ["MODULE"])


def write_and_read() -> None:
    db = libsql.connect(database=URL, auth_token=TOKEN)
    db.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT, half REAL, body BLOB)")
    db.execute("INSERT INTO things (name, half, body) VALUES (?, ?, ?)", ("كتاب", 0.5, b"\x00\xff"))
    db.commit()
    assert db.execute("SELECT * FROM things").fetchall() == [(1, "كتاب", 0.5, b"\x00\xff")]


def transactions() -> None:
    db = libsql.connect(database=URL, auth_token=TOKEN)
    db.execute("INSERT INTO things (name) VALUES ('kept')")
    db.commit()
    db.execute("INSERT INTO things (name) VALUES ('undone')")
    db.rollback()
    assert db.execute("SELECT count(*) FROM things").fetchone() == (2,)


def scripts() -> None:
    db = libsql.connect(database=URL, auth_token=TOKEN)
    db.executescript("CREATE TABLE many (a); INSERT INTO many VALUES (1); INSERT INTO many VALUES (2);")
    db.executemany("INSERT INTO many VALUES (?)", [(3,), (4,)])
    db.commit()
    assert db.execute("SELECT count(*) FROM many").fetchone() == (4,)


def errors() -> None:
    db = libsql.connect(database=URL, auth_token=TOKEN)
    is_told(lambda sql: db.execute(sql).fetchall())


def replica() -> None:
    db = libsql.connect("replica.db", sync_url=URL, auth_token=TOKEN)
    db.sync()
    assert db.execute("SELECT count(*) FROM things").fetchone() == (2,)
    db.execute("INSERT INTO things (name) VALUES ('through')")
    db.commit()
    db.sync()
    there = libsql.connect(database=URL, auth_token=TOKEN)
    assert there.execute("SELECT count(*) FROM things").fetchone() == (3,)


play(
    {
        "create, write, read": write_and_read,
        "transaction": transactions,
        "scripts, many rows": scripts,
        "errors": errors,
        "`sync_url`": replica,
    }
)
