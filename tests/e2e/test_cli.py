"""The installed `freehold` command and the scripts, as an operator and CI meet them: what is said, exit codes."""

import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from testbed.servers import FREEHOLD, ROOT, Service

from tests.e2e.people import PASSWORD, sign_up

ADMIN = "root@example.com"
_HEAVY = "sqlalchemy alembic litestar apsw httpx"

# Every command's help, in one process, then which of the heavy libraries were imported on the way.
_ALL_HELP = f"""
import click, sys
from freehold.cli.main import cli
def show(command, name):
    command.main(["--help"], prog_name=name, standalone_mode=False)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for each in command.list_commands(context):
            show(command.get_command(context, each), f"{{name}} {{each}}")
show(cli, "freehold")
print(*({{*"{_HEAVY}".split()}} & sys.modules.keys()), file=sys.stderr)
"""


@pytest.fixture
def place(tmp_path: Path) -> Service:
    """An installation where nothing runs."""
    return Service(tmp_path)


@pytest.fixture(scope="module")
def admin(service: Service) -> dict[str, str]:
    """Headers of somebody whom `users create-admin` made beside the running service."""
    made = service.run("users", "create-admin", ADMIN, "--password-stdin", "--json", stdin=PASSWORD + "\n")
    assert (made.returncode, json.loads(made.stdout)["outcome"]) == (0, "created"), made.stderr
    body = {"email": ADMIN, "password": PASSWORD}
    token = httpx.post(f"{service.url}/api/auth/sign-in/email", json=body).json()["token"]
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken


# Help --------------------------------------------------------------------------------------------


def test_help_is_quick_everywhere_for_it_loads_nothing_heavy(place: Service) -> None:
    shown = subprocess.run(
        [sys.executable, "-c", _ALL_HELP], env=place.environ, capture_output=True, text=True, check=True
    )
    assert shown.stdout.count("Usage: freehold") >= 10
    assert shown.stderr.split() == []


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.py")), ids=lambda path: path.name)
def test_every_script_has_help_and_leaves_no_trace(place: Service, script: Path) -> None:
    shown = subprocess.run(
        [sys.executable, script, "--help"],
        cwd=place.folder, env=place.environ, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "Usage:" in shown.stdout
    assert "Example" in shown.stdout
    assert not place.data_dir.exists()


def test_the_version_is_the_installed_one(place: Service) -> None:
    assert place.run("--version").stdout == "freehold, version 0.1.0\n"


@pytest.mark.parametrize("words", [("srve",), ("tenants", "lst"), ("serve", "now"), ("registry", "lint", "x")])
def test_wrong_use_exits_2_and_shows_where_help_is(place: Service, words: tuple[str, ...]) -> None:
    refused = place.run(*words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--help" in refused.stderr


# Settings ----------------------------------------------------------------------------------------


def test_every_bad_setting_is_one_line_and_exit_code_3_for_every_verb(place: Service) -> None:
    bad = {"PORT": "x", "TENANT_TOKEN_TTL_S": "3", "LOG_LEVEL": "loud", "TENANT_PROVIDER": "moon"}
    for words in [("serve",), ("users", "create-admin", ADMIN)]:
        refused = place.run(*words, **bad)
        assert (refused.returncode, refused.stdout) == (3, "")
        assert sorted(line.split(":")[0] for line in refused.stderr.splitlines()) == sorted(bad)
    assert not place.data_dir.exists()


def test_settings_come_from_a_file_too_and_the_environment_wins(place: Service) -> None:
    (place.folder / ".env").write_text("TENANT_TOKEN_TTL_S=never\nLOG_LEVEL=loud\n")
    refused = place.run("tenants", "list", LOG_LEVEL="info")
    assert (refused.returncode, refused.stderr) == (
        3, "TENANT_TOKEN_TTL_S: expected `int`, got `never`\n",
    )  # fmt: skip


@pytest.mark.parametrize(("below", "words"), [("", ["serve"]), ("deeper/still", ["tenants", "list"])])
def test_a_file_in_the_place_of_data_dir_exits_3(place: Service, below: str, words: list[str]) -> None:
    occupied = place.folder / "occupied"
    occupied.write_text("mine")
    refused = place.run(*words, DATA_DIR=str(occupied / below), PORT="0")
    assert refused.returncode == 3
    assert one_line(refused.stderr).startswith("DATA_DIR: ")
    assert occupied.read_text() == "mine"


def test_a_port_in_use_exits_3_and_touches_no_data(place: Service, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    refused = place.run("serve", PORT=str(port))
    assert refused.returncode == 3
    assert one_line(refused.stderr) == (
        f"PORT: {port} is in use on 127.0.0.1; stop what listens there or choose another"
    )
    assert not place.data_dir.exists()


@pytest.mark.parametrize("host", ["999.1.1.1", "a..b", "192.0.2.1"])
def test_an_address_of_another_machine_exits_3(place: Service, host: str) -> None:
    refused = place.run("serve", HOST=host, PORT="0")
    assert refused.returncode == 3
    assert one_line(refused.stderr).startswith(f"HOST: cannot listen on `{host}`")


@pytest.mark.parametrize("kind", ["absent", "a folder", "no key"])
def test_a_key_file_that_cannot_be_used_exits_3_and_is_named(place: Service, kind: str) -> None:
    path = place.folder / "signing.pem"
    if kind == "a folder":
        path.mkdir()
    elif kind == "no key":
        path.write_text("hunter2")
    refused = place.run("serve", REGISTRY_SIGNING_KEY_FILE=str(path), PORT="0")
    assert refused.returncode == 3
    assert str(path) in one_line(refused.stderr)
    assert "hunter2" not in refused.stderr


# Serve -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_with_exit_code_0_and_no_traceback(place: Service, how: signal.Signals) -> None:
    with subprocess.Popen(
        [FREEHOLD, "serve"], cwd=place.folder, env={**place.environ, "PORT": "0"}, stderr=subprocess.PIPE, text=True
    ) as started:  # fmt: skip
        assert started.stderr is not None
        seen = next(line for line in started.stderr if "listens on" in line)
        url = seen.split("listens on ")[1].strip()
        assert httpx.get(f"{url}/health").json()["status"] == "ok"
        person = sign_up(url)
        person.credentials()
        started.send_signal(how)
        rest = started.stderr.read()
    assert started.returncode == 0
    assert "Traceback" not in rest
    assert f"make demo URL={url}" in rest


def test_serve_refuses_to_start_with_a_published_file_that_changed(place: Service) -> None:
    files = place.folder / "files"
    shutil.copytree(ROOT / "schema_registry" / "bahar", files)
    assert place.run("registry", "publish", str(files)).returncode == 0
    changed = files / "0003_create_decks.sql"
    changed.write_text(changed.read_text() + "CREATE TABLE sneaked_in (x);\n")
    ci = place.run("registry", "status", str(files), "--json")
    assert ci.returncode == 1
    states = [json.loads(line) for line in ci.stdout.splitlines()]
    assert [each["version"] for each in states if each["state"] == "changed"] == [3]
    assert place.run("registry", "publish", str(files)).returncode == 1
    refused = place.run("serve", SCHEMA_REGISTRY=str(files), PORT="0")
    assert refused.returncode == 1
    assert one_line(refused.stderr).startswith("migration 3 was already published with other SQL")


def test_serve_refuses_to_start_with_files_that_are_not_sound(place: Service) -> None:
    files = place.folder / "files"
    files.mkdir(parents=True)
    (files / "0002_gap.sql").write_text("COMMIT;")
    refused = place.run("serve", SCHEMA_REGISTRY=str(files), PORT="0")
    assert refused.returncode == 1
    assert all(line.startswith("0002_gap.sql: ") for line in refused.stderr.splitlines())
    nowhere = place.run("serve", SCHEMA_REGISTRY=str(place.folder / "nowhere"), PORT="0")
    assert nowhere.returncode == 3
    assert "SCHEMA_REGISTRY" in (told := one_line(nowhere.stderr))
    assert str(place.folder / "nowhere") in told


# Users, registry, tenants, beside the running service --------------------------------------------


def test_an_admin_is_made_once_and_registers_a_migration_over_http(service: Service, admin: dict[str, str]) -> None:
    again = service.run("users", "create-admin", ADMIN, "--password-stdin", stdin="another-password\n")
    assert (again.returncode, again.stdout) == (
        0, f"{ADMIN} is an administrator already; nothing changed\n",
    )  # fmt: skip
    new = {"sqlScript": "CREATE TABLE notes (id TEXT PRIMARY KEY);", "description": "Create notes"}
    url = f"{service.url}/migrations/register"
    stranger = sign_up(service.url)
    assert httpx.post(url, json=new, headers=stranger.headers).status_code == 403
    done = httpx.post(url, json=new, headers=admin)
    assert (done.status_code, done.json()["version"]) == (201, 10), done.text
    states = service.run("registry", "status", "--json")
    assert states.returncode == 0
    assert json.loads(states.stdout.splitlines()[-1]) == {
        "version": 10, "name": "create_notes", "state": "no file",
    }  # fmt: skip


def test_nobody_becomes_an_admin_without_a_password_or_by_accident(service: Service) -> None:
    unasked = service.run("users", "create-admin", "nobody@example.com")
    assert unasked.returncode == 1
    assert "--password-stdin" in one_line(unasked.stderr)
    person = sign_up(service.url)
    refused = service.run("users", "create-admin", person.email, "--password-stdin", stdin=PASSWORD)
    assert refused.returncode == 1
    assert "--promote" in one_line(refused.stderr)


def test_lint_and_publish_speak_json_and_are_safe_to_repeat(place: Service) -> None:
    lint = [json.loads(line) for line in place.run("registry", "lint", "--json").stdout.splitlines()]
    assert [each["version"] for each in lint] == list(range(1, 10))
    assert not place.data_dir.exists()
    before = place.run("registry", "status")
    assert (before.returncode, before.stdout.count("pending")) == (1, 9)
    for published in ([*range(1, 10)], []):
        done = place.run("registry", "publish", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["published"] == published
    assert place.run("registry", "status").returncode == 0


def test_any_number_of_tenants_is_listed_one_line_each(place: Service) -> None:
    assert place.run("registry", "publish").returncode == 0
    with closing(sqlite3.connect(place.data_dir / "central.db")) as db, db:
        columns = [(name, notnull) for _, name, _, notnull, *_ in db.execute("PRAGMA table_info(tenant)")]
        for number in range(5000):
            known: dict[str, str | int] = {
                "id": f"t{number:05}",
                "user_id": f"u{number}",
                "database_name": f"d-{number}",
            }
            known |= {"provider": "local", "state": "ready", "schema_version": 9, "attempts": 0}
            row = [known.get(name, "2026-01-01T00:00:00.000Z" if notnull else None) for name, notnull in columns]
            db.execute(f"INSERT INTO tenant VALUES ({', '.join('?' * len(row))})", row)
    listing = place.run("tenants", "list", "--json")
    found = [json.loads(line)["tenant_id"] for line in listing.stdout.splitlines()]
    assert listing.returncode == 0
    assert found == [f"t{number:05}" for number in range(5000)]


def test_the_list_of_tenants_names_the_database_of_a_person(service: Service) -> None:
    person = sign_up(service.url)
    credentials = person.credentials()
    listed = service.run("tenants", "list", "--json")
    assert listed.returncode == 0
    rows = {row["user_id"]: row for row in map(json.loads, listed.stdout.splitlines())}
    assert rows[person.user_id]["database_name"] == credentials["db_name"]
    assert rows[person.user_id]["state"] == "ready"
    assert "token" not in listed.stdout


def one_line(text: str) -> str:
    """The text, which must be one line without a traceback."""
    [line] = text.splitlines()
    return line
