"""`freehold users import`: from a database that the real better-auth made, and from lines."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from testbed.servers import FREEHOLD, ROOT, Service, run_node
from testbed.sqld import running_sqld

from freehold.auth.passwords.passwords import hash_password
from freehold.libsql.client import create_client
from tests.e2e.people import Person, run_sql
from tests.integration.libsql_parts import new_url

SECRET = "a-secret-that-both-installations-share-0123456789"
HASH = hash_password("correct-horse-1")


@dataclass
class Moved:
    service: Service
    people: dict[str, dict[str, str]]
    url: str
    variables: dict[str, str]
    report: dict[str, Any]

    def again(self) -> subprocess.CompletedProcess[str]:
        return self.service.run("users", "import", "--from-better-auth", self.url, "--json", **self.variables)

    def sign_in(self, name: str) -> httpx.Response:
        body = {"email": f"{name}@example.com", "password": f"password-of-{name}"}
        return httpx.post(f"{self.service.url}/api/auth/sign-in/email", json=body)


@pytest.fixture(scope="module", params=["file", "sqld"])
def moved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    folder = tmp_path_factory.mktemp(f"moving-{request.param}")
    service = Service(folder, BETTER_AUTH_SECRET=SECRET)
    url = f"file:{folder}/better-auth.db"
    made = run_node(ROOT / "tests/e2e/node/better_auth_install.mjs", url, "", SECRET)
    assert made.returncode == 0, made.stderr
    people = json.loads(made.stdout)
    if request.param == "file":
        yield from _moved(service, people, url, {})
        return
    with running_sqld() as sqld:
        remote, token = new_url(sqld)
        asyncio.run(_copy(folder / "better-auth.db", remote, token))
        yield from _moved(service, people, remote, {"BETTER_AUTH_DATABASE_TOKEN": token})


async def _copy(path: Path, url: str, token: str) -> None:
    with sqlite3.connect(path) as db:
        statements = [each for each in db.iterdump() if not each.startswith(("BEGIN", "COMMIT"))]
    db.close()
    # Tables first, and users before what belongs to them.
    statements.sort(key=lambda sql: (not sql.startswith("CREATE TABLE"), 'INTO "user"' not in sql))
    client = create_client(url, auth_token=token)
    await client.batch(statements)
    await client.close()


def _moved(service: Service, people: Any, url: str, variables: dict[str, str]) -> Iterator[Moved]:
    service.start()
    found = Moved(service, people, url, variables, {})
    tried = service.run("users", "import", "--from-better-auth", url, "--dry-run", **variables)
    assert tried.returncode == 0, tried.stderr
    assert "5 users would move in" in tried.stdout
    done = found.again()
    assert done.returncode == 0, done.stderr
    found.report = json.loads(done.stdout.splitlines()[-1])["report"]
    yield found
    service.stop()


def test_the_report_counts_what_came(moved: Moved) -> None:
    assert moved.report == {
        "added": 5, "known": 0, "conflict": 0, "unusable": 0, "accounts": 6, "sessions": 3, "with_notes": 0,
        "dry_run": False,
    }  # fmt: skip


def test_an_imported_user_signs_in_with_the_old_password(moved: Moved) -> None:
    reply = moved.sign_in("ada")
    assert reply.status_code == 200, reply.text
    assert reply.json()["user"]["id"] == moved.people["ada"]["id"]
    assert moved.sign_in("grace").json()["user"]["role"] == "admin"
    assert moved.sign_in("banned").json()["code"] == "BANNED_USER"


def test_a_cookie_from_before_still_opens_the_session(moved: Moved) -> None:
    def session(name: str) -> Any:
        headers = {"cookie": moved.people[name]["cookie"]}
        return httpx.get(f"{moved.service.url}/api/auth/get-session", headers=headers).json()

    assert session("google")["user"]["email"] == "google@example.com"
    assert session("ended") is None
    assert session("banned") is None


def test_everybody_gets_a_database(moved: Moved) -> None:
    ada = moved.people["ada"]
    person = Person(moved.service.url, "ada@example.com", ada["id"], ada["token"])
    assert run_sql(person.credentials(), "SELECT 1") == [["1"]]


def test_the_second_time_nothing_changes(moved: Moved) -> None:
    """Not even for whoever has changed, signed out or was removed here meanwhile."""
    ended = httpx.post(
        f"{moved.service.url}/api/auth/sign-out", headers={"authorization": f"Bearer {moved.people['google']['token']}"}
    )
    assert ended.status_code == 200
    before = _everything(moved.service)
    again = moved.again()
    assert again.returncode == 0, again.stderr
    report = json.loads(again.stdout)["report"]
    assert (report["added"], report["known"], report["sessions"]) == (0, 5, 0)
    assert _everything(moved.service) == before


def test_who_was_removed_here_does_not_come_back(moved: Moved) -> None:
    admin = moved.sign_in("grace").json()["token"]
    removed = httpx.post(
        f"{moved.service.url}/api/auth/admin/remove-user",
        json={"userId": moved.people["ended"]["id"]},
        headers={"authorization": f"Bearer {admin}"},
    )
    assert removed.status_code == 200, removed.text
    again = moved.again()
    assert again.returncode == 1
    problem, report = (json.loads(line) for line in again.stdout.splitlines())
    assert problem["problem"]["reasons"] == ["the user was here, and was removed"]
    assert (report["report"]["conflict"], report["report"]["known"]) == (1, 4)


def test_the_database_that_they_come_from_was_only_read(moved: Moved) -> None:
    if moved.url.startswith("file:"):
        path = moved.url.removeprefix("file:")
        with sqlite3.connect(path) as db:
            assert db.execute('SELECT count(*) FROM "user"').fetchone() == (5,)
            assert db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'tenant'").fetchone() == (0,)
        db.close()


def test_no_secret_of_theirs_is_in_the_log_or_the_trail(moved: Moved) -> None:
    told = moved.service.log() + moved.service.run("audit", "list", "--json").stdout
    assert "user.moved_in" in told
    for person in moved.people.values():
        assert person["token"] not in told
    assert "secret-of-google" not in told


def _everything(service: Service) -> list[Any]:
    with sqlite3.connect(service.data_dir / "central.db") as db:
        found = [
            db.execute(f'SELECT * FROM "{table}" ORDER BY id').fetchall() for table in ("user", "account", "session")
        ]
    db.close()
    return found


@pytest.fixture
def installation(tmp_path: Path) -> Service:
    tmp_path.joinpath("data").mkdir()
    return Service(tmp_path)


def _lines(*people: dict[str, Any]) -> str:
    return "".join(json.dumps(person) + "\n" for person in people)


def test_lines_bring_users_in_and_each_problem_is_told(installation: Service) -> None:
    ada = {"id": "u-ada", "email": "ada@example.com", "name": "Ada", "password": HASH}
    text = _lines(
        ada,
        {"email": "No-Id@example.com", "password": HASH},
        {"id": "u-two", "email": "ADA@example.com"},
        {"id": "u-ada", "email": "other@example.com"},
        {"id": "u-bad", "email": "not an address"},
        {"id": "u-crypt", "email": "crypt@example.com", "password": "$2b$10$x"},
        {"id": "u-same", "email": "same@example.com",
         "accounts": [{"providerId": "google", "accountId": "1"}, {"providerId": "google", "accountId": "1"}]},
    ) + "{not json\n\n"  # fmt: skip
    done = installation.run("users", "import", "-", "--json", stdin=text)
    assert done.returncode == 1, done.stderr
    *problems, last = (json.loads(line) for line in done.stdout.splitlines())
    told = {each["problem"]["user_id"]: each["problem"] for each in problems}
    assert (told["u-two"]["ending"], told["u-two"]["reasons"]) == ("conflict", ["another user has this address"])
    assert told["u-bad"]["reasons"] == ["`email` is not an e-mail address"]
    assert told["u-crypt"]["ending"] == told["u-same"]["ending"] == "added"
    assert "line 8" in told[""]["reasons"][0]
    assert last["report"] == {
        "added": 4, "known": 0, "conflict": 2, "unusable": 2, "accounts": 3, "sessions": 0, "with_notes": 2,
        "dry_run": False,
    }  # fmt: skip
    again = installation.run("users", "import", "-", "--json", stdin=_lines(ada, {"email": "no-id@example.com"}))
    assert again.returncode == 0
    assert json.loads(again.stdout)["report"]["known"] == 2
    tenants = installation.run("tenants", "list", "--json").stdout.splitlines()
    assert len(tenants) == 4


def test_a_move_that_was_killed_is_finished_by_the_next(installation: Service) -> None:
    count = 4_000
    path = installation.folder / "users.jsonl"
    path.write_text(_lines(*({"id": f"u{n}", "email": f"u{n}@example.com", "password": HASH} for n in range(count))))
    process = subprocess.Popen(
        [FREEHOLD, "users", "import", path], cwd=installation.folder, env=installation.environ,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    central = installation.data_dir / "central.db"
    until = time.monotonic() + 60
    while _count(central, "user") < 500 and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = _count(central, "user")
    assert _count(central, "account") == _count(central, "tenant") == begun
    done = installation.run("users", "import", str(path), "--json")
    report = json.loads(done.stdout)["report"]
    assert (report["known"], report["added"]) == (begun, count - begun)
    assert _count(central, "account") == _count(central, "tenant") == count
    assert installation.run("audit", "verify").returncode == 0


def _count(central: Path, table: str) -> int:
    try:
        with sqlite3.connect(f"file:{central}?mode=ro", uri=True, timeout=10) as db:
            return int(db.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])
    except sqlite3.OperationalError:  # not made yet
        return 0


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "give either"),
        (["-", "--from-better-auth", "x.db"], 2, "give either"),
        (["--from-better-auth", "no-such.db"], 1, "there is no file"),
        (["--from-better-auth", "text.db"], 1, "not a better-auth database"),
        (["--from-better-auth", "empty.db"], 1, "not a better-auth database"),
        (["--from-better-auth", "http://127.0.0.1:1"], 4, "does not answer"),
        (["no-such.jsonl"], 2, "no-such.jsonl"),
    ],
)
def test_what_cannot_be_read_is_told(installation: Service, words: list[str], code: int, told: str) -> None:
    (installation.folder / "text.db").write_text("this is not SQLite" * 100)
    (installation.folder / "empty.db").touch()
    done = installation.run("users", "import", *words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert told in done.stderr
