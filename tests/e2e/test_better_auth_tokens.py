"""Tokens of all kinds against the running service: the official client, two processes, and kills."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from testbed.servers import ROOT, Service, run_node

from freehold.cli.main import cli
from tests.e2e.people import PASSWORD, sign_up

_SCRIPT = ROOT / "tests/e2e/node/better_auth_tokens.mjs"


@pytest.fixture(scope="module")
def told(service: Service) -> dict[str, Any]:
    done = run_node(_SCRIPT, service.url)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_another_service_checks_a_jwt_with_a_common_library(told: dict[str, Any], service: Service) -> None:
    user = told["signUp"]["user"]
    assert (told["claims"]["sub"], told["claims"]["email"]) == (user["id"], "ada@example.com")
    assert told["claims"]["exp"] - told["claims"]["iat"] == 900
    assert told["header"] == {"alg": "EdDSA", "kid": told["jwks"]["keys"][0]["kid"]}
    assert told["sameUserInHeader"] == user["id"]
    assert "set-auth-jwt" in told["exposed"]


def test_the_client_makes_lists_changes_and_deletes_keys(told: dict[str, Any]) -> None:
    made = told["create"]
    assert made["key"].startswith("app_")
    assert (made["start"], made["metadata"]) == (made["key"][:6], {"team": "a"})
    assert told["serverOnly"] == {"status": 400, "code": "SERVER_ONLY_PROPERTY"}
    assert told["list"]["total"] == 2
    assert [key["name"] for key in told["page"]["apiKeys"]] == ["ci"]
    assert told["get"]["id"] == made["id"]
    assert told["update"]["name"] == "renamed"
    assert told["delete"] == {"success": True}
    assert told["deleteAgain"] == {"status": 404, "code": "KEY_NOT_FOUND"}


def test_a_script_with_a_key_is_told_whose_it_is_and_reads(told: dict[str, Any]) -> None:
    assert told["keySession"]["user"]["id"] == told["signUp"]["user"]["id"]
    assert told["keyNoSessions"]["status"] == 401
    assert told["keyDatabase"] == [200, "read_only"]
    assert told["keyDisabled"] == {"status": 401, "code": "KEY_DISABLED"}
    assert told["keyGone"] == {"status": 401, "code": "INVALID_API_KEY"}


def test_signed_out_there_is_no_token_and_no_list(told: dict[str, Any]) -> None:
    assert told["noToken"] == {"status": 401, "code": "UNAUTHORIZED"}
    assert told["noKeys"] == {"status": 401, "code": "UNAUTHORIZED"}


def test_an_operator_gives_scopes_and_limits_and_takes_keys_back(service: Service) -> None:
    person = sign_up(service.url, "grace@example.com")
    person.credentials()
    words = ("--name", "ci", "--scope", "databases:write", "--days", "30", "--limit", "3/3600", "--json")
    made = service.run("api-keys", "create", "Grace@example.com", *words)
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)
    shown = {"x-api-key": key["key"]}
    reply = httpx.get(f"{service.url}/databases/user", headers=shown)
    assert reply.json()["access_level"] == "full"
    statuses = [httpx.get(f"{service.url}/databases/user", headers=shown).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    listed = service.run("api-keys", "list", "grace@example.com", "--json")
    assert [json.loads(line)["id"] for line in listed.stdout.splitlines()] == [key["id"]]
    assert key["key"] not in listed.stdout
    assert service.run("api-keys", "delete", "grace@example.com", key["id"]).returncode == 0
    assert service.run("api-keys", "delete", "grace@example.com", key["id"]).returncode == 1
    assert httpx.get(f"{service.url}/databases/user", headers=shown).status_code == 401
    assert service.run("api-keys", "create", "nobody@example.com").returncode == 1


@pytest.mark.parametrize("wrong", [("--scope", "databases"), ("--limit", "0/1"), ("--days", "400")])
def test_a_scope_or_limit_that_cannot_be_is_wrong_use(wrong: tuple[str, str]) -> None:
    ended = CliRunner().invoke(cli, ["api-keys", "create", "grace@example.com", *wrong])
    assert ended.exit_code == 2
    assert wrong[0] in ended.output


def test_a_rotation_by_command_reaches_every_process_at_once(service: Service, tmp_path: Path) -> None:
    other = Service(service.folder, BETTER_AUTH_URL=service.url).start()
    try:
        login = {"email": sign_up(service.url, "hopper@example.com").email, "password": PASSWORD}
        pair = httpx.post(f"{service.url}/api/auth/login", json=login, timeout=30).json()
        bearer = {"authorization": f"Bearer {pair['access_token']}"}

        def kids(at: Service) -> list[str]:
            return [key["kid"] for key in httpx.get(f"{at.url}/api/auth/jwks").json()["keys"]]

        def verified(at: Service) -> int:
            return httpx.get(f"{at.url}/api/auth/verify", headers=bearer).status_code

        before = kids(service)
        assert kids(other) == before
        assert [verified(service), verified(other)] == [200, 200]
        rotated = json.loads(service.run("keys", "rotate", "--json").stdout)
        assert kids(service) == kids(other) == [rotated["id"], *before]
        assert [verified(service), verified(other)] == [200, 200]
        listed = service.run("keys", "list", "--json").stdout.splitlines()
        assert [json.loads(line)["state"] for line in listed][:2] == ["signing", "retired"]
        now = json.loads(service.run("keys", "rotate", "--at-once", "--json").stdout)
        assert kids(service) == kids(other) == [now["id"]]
        assert [verified(service), verified(other)] == [401, 401]
        again = httpx.post(f"{other.url}/api/auth/refresh", json={"refresh_token": pair["refresh_token"]})
        assert again.status_code == 200, "sessions are not touched by it"
    finally:
        other.stop()


@pytest.fixture
def killable(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path).start()
    yield running
    running.stop()


def test_a_kill_in_the_middle_of_refreshing_loses_no_session(killable: Service) -> None:
    """Whatever was committed when it died, the token that the client still has gives the next pair."""
    login = {"email": sign_up(killable.url).email, "password": PASSWORD}
    reply = httpx.post(f"{killable.url}/api/auth/login", json=login, timeout=30)
    token = reply.json()["refresh_token"]
    refreshed = 0
    for kill_after in (1, 4):
        killer = threading.Thread(target=killable.kill)
        while True:
            if refreshed == kill_after:
                killer.start()
            try:
                reply = httpx.post(f"{killable.url}/api/auth/refresh", json={"refresh_token": token}, timeout=10)
            except httpx.HTTPError:
                break
            assert reply.status_code == 200, reply.text
            token = reply.json()["refresh_token"]
            refreshed += 1
        killer.join()
        killable.start()
        reply = httpx.post(f"{killable.url}/api/auth/refresh", json={"refresh_token": token}, timeout=10)
        assert reply.status_code == 200, reply.text
        token = reply.json()["refresh_token"]
    assert refreshed >= 4
    access = {"authorization": f"Bearer {reply.json()['access_token']}"}
    assert httpx.get(f"{killable.url}/api/auth/verify", headers=access).status_code == 200
