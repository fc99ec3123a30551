"""`freehold users list | show | set-password`, also when an administrator lost their password."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from testbed.servers import ROOT

from freehold.cli.main import cli

EMAIL, OLD, NEW = "ada@example.com", "correct horse battery", "another horse battery"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCHEMA_REGISTRY", str(ROOT / "schema_registry/bahar"))
    assert run("create-admin", EMAIL, "--password-stdin", stdin=f"{OLD}\n").exit_code == 0
    return tmp_path


def run(*words: str, noun: str = "users", stdin: str = "") -> Result:
    return CliRunner().invoke(cli, [noun, *words], input=stdin, prog_name="freehold")


def test_users_are_listed_and_shown_by_address_or_id(place: Path) -> None:
    run("create-admin", "grace@example.com", "--password-stdin", stdin=f"{OLD}\n")
    listed = run("list")
    assert listed.exit_code == 0
    assert sorted(line.split()[1:3] for line in listed.stdout.splitlines()) == [
        [EMAIL, "admin"],
        ["grace@example.com", "admin"],
    ]
    assert "2 users" in listed.stderr
    [found] = map(json.loads, run("list", "--search", "ADA@", "--json").stdout.splitlines())
    assert (found["email"], found["role"]) == (EMAIL, "admin")
    assert run("list", "--search", "nobody", "--json").stdout == ""
    by_email, by_id = (json.loads(run("show", each, "--json").stdout) for each in ("Ada@Example.com", found["id"]))
    assert by_email == by_id
    assert (by_email["has_password"], by_email["sessions"], by_email["database_state"]) == (True, 0, "provisioning")
    assert EMAIL in run("show", EMAIL).stdout
    unknown = run("show", "nobody@example.com")
    assert (unknown.exit_code, unknown.stderr) == (1, "there is no such user\n")


def test_a_lost_password_is_replaced_and_the_audit_trail_says_by_whom(place: Path) -> None:
    done = run("set-password", EMAIL, "--password-stdin", stdin=f"{NEW}\n")
    assert (done.exit_code, done.stdout) == (0, f"{EMAIL} has a new password; 0 sessions ended, and all API keys\n")
    assert NEW not in done.output
    [entry] = map(
        json.loads, run("list", "--action", "user.password_changed", "--json", noun="audit").stdout.splitlines()
    )
    assert entry["actor"].startswith("operator:")
    [told] = [json.loads(line) for line in (place / "data/outbox.jsonl").read_text().splitlines()]
    assert told["to"] == EMAIL


@pytest.mark.parametrize(
    ("words", "stdin", "code", "told"),
    [
        (["nobody@example.com", "--password-stdin"], f"{NEW}\n", 1, "no such user"),
        ([EMAIL, "--password-stdin"], "short\n", 1, "at least 8 characters"),
        ([EMAIL, "--password-stdin"], "", 1, "at least 8 characters"),
        ([EMAIL], "", 1, "no terminal"),
        ([EMAIL, NEW], "", 2, "unexpected extra argument"),
        ([EMAIL, "--password", NEW], "", 2, "No such option"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    place: Path, words: list[str], stdin: str, code: int, told: str
) -> None:
    refused = run("set-password", *words, stdin=stdin)
    assert refused.exit_code == code
    assert told in refused.stderr
    assert "password_changed" not in run("list", noun="audit").stdout
