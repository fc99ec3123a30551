"""A service looks at the servers that its settings name before it starts, and says which setting is wrong."""

import socket
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from testbed.redis import TOKEN, running_redis
from testbed.servers import ROOT
from testbed.sqld import Sqld
from testbed.sqld_service import sqld_variables
from testbed.twin import Twin

from freehold.cli import start_checks
from freehold.cli.main import cli


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there answers, however busy the machine is."""
    monkeypatch.setattr(start_checks, "_CACHE_PATIENCE_S", 60.0)
    monkeypatch.setattr(start_checks, "_PROVIDER_PATIENCE_S", 60.0)


def nowhere() -> str:
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        return f"http://127.0.0.1:{found.getsockname()[1]}"


def serve(folder: Path, **variables: str) -> Result:
    more = {
        "DATA_DIR": str(folder / "data"),
        "SCHEMA_REGISTRY": str(ROOT / "schema_registry/bahar"),
        "PORT": "0",
        "ENGINES": "0",
    }
    return CliRunner().invoke(cli, ["serve"], env={**more, **variables}, prog_name="freehold")


def test_a_redis_that_does_not_answer_is_exit_code_4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_checks, "_CACHE_PATIENCE_S", 0.0)
    url = nowhere()
    done = serve(tmp_path, UPSTASH_REDIS_REST_URL=url, UPSTASH_REDIS_REST_TOKEN="secret-token")
    assert done.exit_code == 4
    assert f"UPSTASH_REDIS_REST_URL: Redis does not answer at {url.removeprefix('http://')}" in done.stderr
    assert "secret-token" not in done.output
    older = serve(tmp_path, REDIS_URL=url, REDIS_TOKEN="secret-token")
    assert (older.exit_code, "REDIS_URL: Redis does not answer" in older.stderr) == (4, True)


def test_a_redis_that_does_not_take_the_token_and_what_is_no_redis_are_exit_code_3(tmp_path: Path, twin: Twin) -> None:
    with running_redis() as redis:
        wrong = serve(tmp_path, UPSTASH_REDIS_REST_URL=redis.url, UPSTASH_REDIS_REST_TOKEN="not" + TOKEN)
    assert wrong.exit_code == 3, wrong.output
    assert "UPSTASH_REDIS_REST_TOKEN" in wrong.stderr
    assert TOKEN not in wrong.output
    other = serve(tmp_path, UPSTASH_REDIS_REST_URL=twin.url, UPSTASH_REDIS_REST_TOKEN="t")
    assert (other.exit_code, "UPSTASH_REDIS_REST_URL" in other.stderr) == (3, True)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TURSO_API_TOKEN", "wrong", "Turso does not accept TURSO_API_TOKEN"),
        ("TURSO_GROUP", "nowhere", "TURSO_GROUP: Turso has no group `nowhere`"),
        ("TURSO_ORGANIZATION", "nobody", "TURSO_ORGANIZATION"),
    ],
)
def test_what_turso_does_not_know_is_exit_code_3(tmp_path: Path, twin: Twin, name: str, value: str, told: str) -> None:
    done = serve(tmp_path, **{**twin.variables, name: value})
    assert done.exit_code == 3, done.output
    assert told in done.stderr
    if name == "TURSO_GROUP":
        assert "there are default" in done.stderr


def test_a_wrong_token_of_a_central_database_on_turso_is_exit_code_3(tmp_path: Path, twin: Twin) -> None:
    made = twin.call("POST", "databases", json={"name": "central", "group": "default"}).json()["database"]
    url = f"http://{made['Hostname']}"
    done = serve(tmp_path, DATABASE_URL=url, DATABASE_AUTH_TOKEN="eyJ.wrong.token")
    assert done.exit_code == 3, done.output
    assert "DATABASE_AUTH_TOKEN" in done.stderr
    assert "eyJ.wrong.token" not in done.output


def test_a_wrong_key_of_sqlds_admin_port_is_exit_code_3(tmp_path: Path, sqld: Sqld) -> None:
    done = serve(tmp_path, **{**sqld_variables(sqld), "SQLD_ADMIN_KEY": "wrong"})
    assert (done.exit_code, "SQLD_ADMIN_KEY" in done.stderr) == (3, True)
