"""The map of the documentation, the project's own files, and what they promise of each other."""

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from testbed.servers import ROOT

from freehold.central.tables import metadata

SOURCE = ROOT / "src/freehold"
MAP = ROOT / "docs/README.md"
DESIGNS = sorted(SOURCE.rglob("DESIGN.md"))
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md")), *DESIGNS]
# Packages that are hard enough to need a page beside the code.
DESIGNED = ["migrate", "rollouts", "tenants", "providers/local", "providers/sqlite", "providers/sqld"]
# How columns are called that hold what somebody is or did; and those called so that hold no such thing.
_PERSONAL = re.compile(r"(?i)email|ip_?address|user_?agent|user_id|device|place|password|name$")
_NOT_PERSONAL = {"database_name", "emailVerified", "name"}
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def _links(page: Path) -> Iterable[Path]:
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in link and not link.startswith("mailto:"):
            yield (page.parent / link).resolve()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_to_something_that_is_there(page: Path) -> None:
    assert [link for link in _links(page) if not link.exists()] == []


def test_the_map_links_every_page_and_every_design() -> None:
    linked = set(_links(MAP))
    pages = {*(ROOT / "docs").glob("*.md"), *DESIGNS} - {MAP}
    assert pages - linked == set()
    assert {ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")} <= linked
    assert MAP in set(_links(ROOT / "README.md"))


def test_the_map_names_every_package() -> None:
    packages = {path.parent.relative_to(SOURCE).parts[0] for path in SOURCE.glob("*/**/*.py")}
    table = MAP.read_text().split("in `src/freehold/`", 1)[1].split("\n## ", 1)[0]
    assert packages <= set(re.findall(r"`(\w+)/`", table))
    assert packages <= set(re.findall(r"(\w+)/", (ROOT / "README.md").read_text().split("## Layout", 1)[1]))


def test_each_place_in_the_map_is_there_with_its_name() -> None:
    rows = re.findall(r"^\| [^|]+ \| `([\w/]+\.py)` \| `([\w ]+)` \|$", MAP.read_text(), re.MULTILINE)
    assert len(rows) > 15
    assert [
        f"{file}: {name}" for file, name in rows if not re.search(rf"\b{name}\b", (SOURCE / file).read_text())
    ] == []


def test_benchmarks_and_what_they_start_need_no_tests() -> None:
    needed = re.compile(r"^\s*(?:from|import) tests\b", re.MULTILINE)
    files = [*(ROOT / "bench").rglob("*.py"), *(ROOT / "testbed").rglob("*.py")]
    assert len(files) > 30
    assert [str(path) for path in files if needed.search(path.read_text())] == []


def test_the_hard_packages_have_a_design_whose_files_are_there() -> None:
    assert [str(path.parent.relative_to(SOURCE)) for path in DESIGNS] == sorted(DESIGNED)
    for design in DESIGNS:
        for name in re.findall(r"`([\w/]+\.py)`", design.read_text()):
            # A bare name is a file of the package or of a folder in it that the sentence has named.
            found = (design.parent / name, SOURCE / name, *design.parent.rglob(name))
            assert any(path.is_file() for path in found), f"{design}: {name}"


def test_the_page_about_the_central_database_has_every_table_and_no_other() -> None:
    text = (ROOT / "docs/central-database.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(metadata.tables)
    for table, personal in rows:
        columns = set(re.findall(r"`(\w+)`", personal))
        assert columns <= set(metadata.tables[table].columns.keys()), table


def test_columns_that_tell_of_people_are_on_the_page_about_the_central_database() -> None:
    text = (ROOT / "docs/central-database.md").read_text()
    for table in metadata.tables.values():
        [row] = re.findall(rf"^\| `{table.name}` \|.*$", text, re.MULTILINE)
        personal = {column.name for column in table.columns if _PERSONAL.search(column.name)}
        missing = {name for name in personal if f"`{name}`" not in row}
        assert missing <= _NOT_PERSONAL, f"{table.name}: {missing}"


def test_the_projects_workflow_runs_what_contributors_run() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    ran = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert {"make test", "make lint", "make coverage"} <= set(ran)
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"][0] == oldest.removeprefix(">=")


def test_hooks_before_a_commit_are_the_checks_of_make_lint() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"], "a tool's version stands in the lock file alone"
    lint = (ROOT / "Makefile").read_text().split("\nlint:", 1)[1].split("\n\n", 1)[0]
    for hook in hooks[0]["hooks"]:
        tool, *words = hook["entry"].removeprefix(".venv/bin/").split()
        words = [word for word in words if word != "--force-exclude"]
        assert f"$(BIN)/{' '.join([tool, *words])}" in lint, hook["id"]
    assert len(hooks[0]["hooks"]) == lint.count("$(BIN)/")


def test_what_the_guide_for_contributors_would_add_is_there_in_these_files() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    diffs = "".join(re.findall(r"^```diff\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    parts = re.split(r"^--- a/(.+)\n", diffs, flags=re.MULTILINE)[1:]
    assert len(parts) == 2 * 7
    for file, added in zip(parts[::2], parts[1::2], strict=True):
        # A row of a table may be cut short.
        for block in re.split(r"^\+\n", added, flags=re.MULTILINE):
            lines = "\n".join(line.removeprefix("+") for line in block.splitlines())
            assert lines in (ROOT / file).read_text(), f"{file}: {lines}"


@pytest.mark.parametrize("path", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda path: path.name)
def test_files_for_the_code_host_are_sound_yaml(path: Path) -> None:
    assert yaml.safe_load(path.read_text())


def test_the_changelog_has_releases_and_what_is_new_by_kind() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d{2}-\d{2}", heading) for heading in headings[1:])
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert headings[1].split()[0] == version
    unreleased = text.split("## Unreleased", 1)[1].split("\n## ", 1)[0]
    kinds = re.findall(r"^### (.+)$", unreleased, re.MULTILINE)
    assert kinds == [kind for kind in KINDS if kind in kinds]
    assert "\n- " not in unreleased.split("###", 1)[0], "what is new stands under its kind"
