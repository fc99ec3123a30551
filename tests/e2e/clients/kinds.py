"""The clients, and how each is played. What a client is tried with is in its own script."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from testbed.servers import ROOT, clean_environ, missing, require

from tests.e2e.clients.drizzle_kit import play_drizzle_kit
from tests.e2e.clients.places import Database, Place

# What was tried, and why it does not work, or None.
Outcome = dict[str, str | None]

NODE = ROOT / "tests/e2e/node"
_SCRIPTS = "tests.e2e.clients.python"
# SQLAlchemy for `sqlalchemy-libsql`, and Datasette, with all that they need: none of it is Freehold's.
OWN_PYTHON = Path(__file__).with_name(".venv") / "bin/python"
OWN_LOCK = Path(__file__).with_name("requirements.lock")
_LIMIT_S = 240
EXPORTED = (
    "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)",
    "INSERT INTO things (name) VALUES ('كتاب'), ('قلم')",
    "CREATE VIRTUAL TABLE found USING fts5(words)",
    "INSERT INTO found VALUES ('a book'), ('a pen')",
)


class Client(NamedTuple):
    """What it is called in the table, and in its registry; `registry` is `npm`, `pypi`, or empty for our own."""

    name: str
    package: str
    registry: str


JAVASCRIPT = {
    "libsql_client": Client("`@libsql/client` (node)", "@libsql/client", "npm"),
    "libsql_client_web": Client("`@libsql/client/web`", "@libsql/client", "npm"),
    "serverless": Client("`@tursodatabase/serverless`", "@tursodatabase/serverless", "npm"),
    "kysely": Client("`kysely` with `@libsql/kysely-libsql`", "kysely", "npm"),
    "drizzle": Client("`drizzle-orm`", "drizzle-orm", "npm"),
    "prisma": Client("`@prisma/adapter-libsql`", "@prisma/adapter-libsql", "npm"),
}
# Native code, which may hold up its process, and takes it along when it fails.
NATIVE = {
    "libsql_native": Client("`libsql` (npm)", "libsql", "npm"),
    "libsql_sync": Client("`@libsql/client` with `syncUrl`", "@libsql/client", "npm"),
}
KIT = {"drizzle_kit": Client("`drizzle-kit`", "drizzle-kit", "npm")}
PYTHON = {
    "libsql": Client("`libsql` (PyPI)", "libsql", "pypi"),
    "libsql_experimental": Client("`libsql-experimental`", "libsql-experimental", "pypi"),
    "libsql_client_py": Client("`libsql-client`", "libsql-client", "pypi"),
    "ours": Client("`freehold.libsql.client`", "freehold", ""),
    "dialect": Client("Freehold's dialect for `sqlalchemy`", "sqlalchemy", "pypi"),
    "sqlalchemy_libsql": Client("`sqlalchemy-libsql`", "sqlalchemy-libsql", "pypi"),
    "datasette": Client("Datasette, on an export", "datasette", "pypi"),
}
CLIENTS = {**JAVASCRIPT, **NATIVE, **KIT, **PYTHON}

_PYTHON_SCRIPTS: dict[str, tuple[Path | str, str, dict[str, str]]] = {
    "libsql": (sys.executable, "play_libsql", {"MODULE": "libsql"}),
    "libsql_experimental": (sys.executable, "play_libsql", {"MODULE": "libsql_experimental"}),
    "libsql_client_py": (sys.executable, "play_libsql_client", {"MODULE": "libsql_client"}),
    "ours": (sys.executable, "play_libsql_client", {"MODULE": "freehold.libsql.client"}),
    "dialect": (sys.executable, "play_dialect", {}),
    "sqlalchemy_libsql": (OWN_PYTHON, "play_sqlalchemy", {}),
    "datasette": (OWN_PYTHON, "play_datasette", {}),
}


def played(place: Place) -> dict[str, Outcome]:
    """What became of all clients at one place."""
    found = _javascript({name: place.database() for name in JAVASCRIPT})
    for name in NATIVE:
        found |= _javascript({name: place.database()})
    found["drizzle_kit"] = play_drizzle_kit(place.database())
    for name in PYTHON:
        found[name] = _python(name, place)
    return {name: found[name] for name in CLIENTS}


def version_of(client: Client) -> str:
    """The version that is pinned."""
    if client.registry == "npm":
        lock = json.loads((NODE / "package-lock.json").read_text())
        return str(lock["packages"][f"node_modules/{client.package}"]["version"])
    for file in (OWN_LOCK, ROOT / "requirements-dev.lock") if client.registry else ():
        found = re.search(rf"^{client.package}==(\S+)", file.read_text(), re.MULTILINE)
        if found is not None:
            return found[1]
    return ""


def _javascript(databases: Mapping[str, Database]) -> dict[str, Outcome]:
    asked = {name: {"url": at.url, "authToken": at.token} for name, at in databases.items()}
    ended = subprocess.run(
        [require("node"), NODE / "clients/play.mjs"],
        input=json.dumps(asked),
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Outcome] = json.loads(ended.stdout.splitlines()[-1])
    return found


def _python(name: str, place: Place) -> Outcome:
    python, script, variables = _PYTHON_SCRIPTS[name]
    if not os.access(python, os.X_OK):
        missing("the clients for Python are not installed: run `make test` once")
    database = place.database()
    with tempfile.TemporaryDirectory(prefix="client-") as folder:
        if name == "datasette":
            database.run(*EXPORTED)
            place.export(database, Path(folder) / "export.db")
        ended = subprocess.run(
            [python, "-m", f"{_SCRIPTS}.{script}"],
            env=clean_environ(
                URL=database.url, TOKEN=database.token, PYTHONUTF8="1", PYTHONPATH=str(ROOT), **variables
            ),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    found: Outcome = json.loads(ended.stdout.splitlines()[-1])
    return found
