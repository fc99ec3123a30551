"""Commands that ask before they do what cannot be undone: without a terminal they say which option there is."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from testbed.servers import ROOT

from freehold.cli.main import cli


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, words, prog_name="freehold")


def test_an_end_of_a_rollout_without_a_terminal_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = tmp_path / "files"
    files.mkdir()
    monkeypatch.setenv("SCHEMA_REGISTRY", str(files))
    (files / "0001_a.sql").write_text((ROOT / "schema_registry/bahar/0003_create_decks.sql").read_text())
    assert run("registry", "publish").exit_code == 0
    assert run("users", "create-admin", "a@example.com", "--password-stdin").exit_code == 1  # no password
    done = CliRunner().invoke(
        cli, ["users", "create-admin", "a@example.com", "--password-stdin"], input="correct horse battery\n"
    )
    assert done.exit_code == 0
    assert run("tenants", "provision").exit_code == 0
    (files / "0002_b.sql").write_text("CREATE TABLE later (id INTEGER PRIMARY KEY);\n")
    assert run("registry", "publish").exit_code == 0
    assert run("rollout", "start").exit_code == 0
    refused = run("rollout", "abort")
    assert refused.exit_code == 2
    assert "there is no terminal to ask on; use --yes" in refused.stderr
    assert "[y/N]" not in refused.output
    assert json.loads(run("rollout", "status", "--json").stdout)["rollout"]["state"] == "running"
    assert run("rollout", "abort", "--yes").exit_code == 0
