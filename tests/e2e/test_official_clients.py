"""A user's own database through official clients, as a service hands it out: they change rows, and no schema.

What else each of them can do is in `clients/`.
"""

import json
import subprocess
import sys
from typing import Any

import libsql_client
import pytest
from testbed.servers import ROOT, Service, clean_environ, run_node

from tests.e2e.people import Person, sign_up

_INSERT = (
    "INSERT INTO dictionary_entries (id, word, translation, type, created_at, updated_at)"
    " VALUES (?, ?, ?, 'noun', 1, 1)"
)


@pytest.fixture(scope="module")
def person(service: Service) -> Person:
    return sign_up(service.url)


@pytest.fixture(scope="module")
def credentials(person: Person) -> dict[str, Any]:
    return person.credentials()


def test_javascript_is_told_why_it_changes_no_schema(credentials: dict[str, Any]) -> None:
    script = ROOT / "tests/e2e/node/libsql_client_rows.mjs"
    ended = run_node(script, credentials["url"], credentials["access_token"])
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report.pop("rows") == ["js-1"]
    assert report.pop("stranger") == "BAD_DATABASE_TOKEN"
    assert report.keys() == {"execute", "batch", "transaction", "executeMultiple", "migrate"}
    for way, told in report.items():
        assert (way, told["code"]) == (way, "PROFILE_NEEDED"), told
        assert "needs a token with the profile `full`" in told["message"], told


async def test_libsql_client_for_python_is_told_why_it_changes_no_schema(credentials: dict[str, Any]) -> None:
    async with libsql_client.create_client(credentials["url"], auth_token=credentials["access_token"]) as db:
        for way in (db.execute("CREATE TABLE py_things (a)"), db.batch(["CREATE TABLE py_things (a)"])):
            with pytest.raises(libsql_client.LibsqlError, match="needs a token with the profile `full`"):
                await way


_LIBSQL = """
import libsql, os, sys
db = libsql.connect(database=os.environ["URL"], auth_token=os.environ["TOKEN"])
db.execute(os.environ["INSERT"], ("rs-1", "بيت", "house"))
db.commit()
print(db.execute("SELECT word FROM dictionary_entries WHERE id = 'rs-1'").fetchone()[0])
db.execute("INSERT INTO dictionary_entries (id, word, translation, type, created_at, updated_at)"
           " VALUES ('rs-2', 'x', 'y', 'noun', 1, 1)")
db.rollback()
print(db.execute("SELECT count(*) FROM dictionary_entries WHERE id = 'rs-2'").fetchone()[0])
try:
    db.execute("SELECT * FROM no_such_table").fetchall()
except ValueError as error:
    print("no such table" in str(error))
try:
    db.execute("CREATE TABLE rs_things (a)")
    db.commit()
except ValueError as error:
    print("needs a token with the profile `full`" in str(error))
"""


def test_libsql_for_python_reads_and_writes(credentials: dict[str, Any]) -> None:
    # A process of its own: this library holds Python's lock while it waits for the network.
    ended = subprocess.run(
        [sys.executable, "-c", _LIBSQL],
        env=clean_environ(URL=credentials["url"], TOKEN=credentials["access_token"], INSERT=_INSERT, PYTHONUTF8="1"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["بيت", "0", "True", "True"]
