"""Promises of the documentation that nothing else would notice when they are broken."""

import re
import tomllib

import click
import pytest
from scripts.errors import every_error
from testbed.servers import ROOT

import freehold
from freehold.audit.types import RESEALED, STARTED
from freehold.settings.load import variables
from tests.support.commands import COMMANDS


def test_the_example_environment_lists_exactly_the_settings() -> None:
    text = (ROOT / ".env.example").read_text()
    listed = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE)
    assert listed == list(dict.fromkeys(listed)), "a variable is listed twice"
    assert set(listed) == set(variables())


def test_every_action_of_the_audit_trail_is_documented_and_every_documented_one_exists() -> None:
    text = (ROOT / "docs/audit.md").read_text()
    listed = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", text, re.MULTILINE)
    code = "".join(path.read_text() for path in (ROOT / "src/freehold").rglob("*.py"))
    recorded = [*re.findall(r'\bEvent\(\s*"([a-z_.]+)"', code), STARTED, RESEALED]
    assert sorted(listed) == sorted(set(recorded))


def test_every_listed_requirement_of_asvs_has_its_test_and_every_test_is_listed() -> None:
    text = (ROOT / "docs/security.md").read_text()
    listed = dict(re.findall(r"^\| V(\d+\.\d+\.\d+) \| (\w+) \|", text, re.MULTILINE))
    assert set(listed.values()) == {"met", "open"}
    sources = "".join(path.read_text() for path in (ROOT / "tests/e2e").glob("test_asvs_*.py"))
    tests = re.findall(r"^(@OPEN\n)?(?:@.*\n)*(?:async )?def test_v(\d+)_(\d+)_(\d+)_", sources, re.MULTILINE)
    found = {".".join(number): "open" if mark else "met" for mark, *number in tests}
    assert found == listed
    assert len(found) == len(tests), "a requirement has two tests"


def test_every_test_that_the_security_pages_name_exists() -> None:
    text = (ROOT / "docs/security.md").read_text()
    named = set(re.findall(r"`((?:tests/\w+/)?test_\w+\.py)`", text))
    assert len(named) > 50
    missing = [name for name in named if not (ROOT / (name if "/" in name else f"tests/e2e/{name}")).is_file()]
    assert [name for name in missing if not list((ROOT / "tests").glob(f"*/{name}"))] == []
    model = text.split("## Threat model", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in model.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 12
    assert [row for row in rows if not re.search(r"test_\w+\.py` \|$", row)] == []


def test_every_error_code_belongs_to_one_kind() -> None:
    codes = [kind.__dict__["code"] for kind in every_error() if "code" in kind.__dict__]
    assert sorted(codes) == sorted(set(codes))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    assert command.help, "no help"
    text = command.get_help(click.Context(command, info_name=" ".join(words)))
    assert "Example" in text
    assert "freehold " in text.split("Example", 1)[1]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_is_explained(words: tuple[str, ...]) -> None:
    for parameter in COMMANDS[words].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock", "requirements-tools.lock"])
def test_lock_files_pin_with_hashes_and_name_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    pins = re.findall(r"^[a-z0-9][\w.\-\[\]]*==\S+", text, re.MULTILINE | re.IGNORECASE)
    assert len(pins) > 20
    assert text.count("--hash=sha256:") >= len(pins)
    assert "://" not in text
    assert "sphinx" not in text.lower()


def test_the_javascript_lock_file_names_no_address() -> None:
    text = (ROOT / "tests/e2e/node/package-lock.json").read_text()
    assert "://" not in re.sub(r'"funding": (?:\[.*?\]|\{.*?\})', "", text, flags=re.S)


def test_the_version_is_said_once_more_in_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == freehold.__version__
