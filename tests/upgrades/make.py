"""Makes an archive of an installation as some version of Freehold leaves it, for `test_upgrades.py`.

    python -m tests.upgrades.make CHECKOUT NAME

CHECKOUT is a folder with that version's sources, e.g. from `git worktree add ../old v1.2.3`; NAME names the archives,
e.g. `v1.2.3`. They run with the packages of this folder's `.venv`. Nothing in an archive is anybody's secret: all
keys and passwords were made for it.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from testbed.servers import clean_environ
from testbed.sqld import BINARY

from tests.e2e.people import PASSWORD, Person, run_sql, sign_up

HERE = Path(__file__).parent
KINDS = {"embedded": ("serve",), "dev-sqld": ("dev", "sqld")}
_LEFT_OUT = {"sqld.log", "outbox.jsonl", "lock"}
_START_LIMIT_S = 60.0


def main(checkout: Path, name: str) -> None:
    """Make `NAME-KIND.tar.xz` in this folder for each kind of installation."""
    for kind, verb in KINDS.items():
        with tempfile.TemporaryDirectory(prefix="upgrade-") as folder:
            place = Path(folder)
            shutil.copytree(checkout / "schema_registry/bahar", place / "registry")
            facts = _fill(place, checkout, verb)
            (place / "facts.json").write_text(json.dumps({"made_by": name, "kind": kind, **facts}, indent=1))
            archive = HERE / f"{name}-{kind}.tar.xz"
            with tarfile.open(archive, "w:xz", preset=9) as out:
                for part in ("data", "registry", "facts.json"):
                    out.add(place / part, part, filter=_kept)
            print(f"{archive.name}: {archive.stat().st_size:,} bytes")


def _fill(place: Path, checkout: Path, verb: tuple[str, ...]) -> dict[str, Any]:
    """What people leave behind who use it."""
    log = place / "log"
    run = [sys.executable, "-c", "from freehold.cli.main import main; main()"]
    environ = clean_environ(
        PYTHONPATH=str(checkout / "src"),
        DATA_DIR=str(place / "data"),
        SCHEMA_REGISTRY=str(place / "registry"),
        SQLD_BINARY=str(BINARY),
        RATE_LIMITS="off",
        PORT="0",
    )
    with log.open("wb") as output:
        process = subprocess.Popen([*run, *verb], cwd=place, env=environ, stdout=output, stderr=output)
    try:
        url = _url(log, process)
        ada, ben = (sign_up(url, f"{who}@example.com") for who in ("ada", "ben"))
        guest = httpx.post(f"{url}/api/auth/sign-in/anonymous", json={}, headers={"origin": url}, timeout=30)
        guest.raise_for_status()
        somebody = Person(url, "", guest.json()["user"]["id"], guest.json()["token"])
        facts = {
            "password": PASSWORD,
            "ada": _used(ada, "kitab"),
            "ben": _used(ben, "qalam"),
            "guest": _used(somebody, "bab"),
        }
        key = httpx.post(f"{url}/api/auth/api-key/create", json={"name": "ci"}, headers=ada.headers, timeout=30)
        key.raise_for_status()
        return {**facts, "api_key": key.json()["key"]}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _used(person: Person, word: str) -> dict[str, str]:
    mine = person.credentials(60)
    run_sql(
        mine,
        "INSERT INTO dictionary_entries (id, word, translation, type, created_at, updated_at)"
        f" VALUES ('{word}', '{word}', 'x', 'noun', 0, 0)",
    )
    return {"email": person.email, "session": person.token, "db_name": mine["db_name"], "word": word}


def _url(log: Path, process: "subprocess.Popen[bytes]") -> str:
    until = time.monotonic() + _START_LIMIT_S
    while not (found := re.search(r"listens on (http://\S+)", log.read_text(errors="replace"))):
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < until, log.read_text(errors="replace")
        time.sleep(0.05)
    return found[1]


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return None if os.path.basename(entry.name) in _LEFT_OUT else entry  # noqa: PTH119 - a name in the archive


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2])
