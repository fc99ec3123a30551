"""SQLAlchemy's own suite for dialects passes against a real server, and what is left out of it is documented."""

import asyncio
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from testbed.servers import ROOT
from testbed.sqld import running_sqld

from tests.dialect.requirements import SERVER, SQLITE
from tests.dialect.run import on_sqld, run_suite, through_the_gateway
from tests.support.gateway_app import served_by_engines


@pytest.mark.timeout(600)
def test_the_dialect_passes_sqlalchemys_suite(tmp_path: Path) -> None:
    with running_sqld() as server:
        _passes(on_sqld(server), tmp_path)


@pytest.mark.timeout(600)
async def test_it_passes_on_files_behind_the_gateway_too(tmp_path: Path) -> None:
    """With engine processes, as a service serves them. Their SQLite has no REGEXP."""
    async with served_by_engines(tmp_path / "data", query_timeout_s=60.0) as served:
        caller = await served.database("suite")
        await asyncio.to_thread(_passes, through_the_gateway(caller), tmp_path, "-k", "not regexp_match")


def _passes(url: str, folder: Path, *arguments: str) -> None:
    report = folder / "report.xml"
    done = run_suite(url, "--tb=short", f"--junitxml={report}", *arguments)
    found = ET.parse(report).getroot().find("testsuite")
    assert found is not None
    counts = {name: int(found.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    assert (done.returncode, counts["failures"], counts["errors"]) == (0, 0, 0)
    # The suite grows with SQLAlchemy; far fewer would mean that it did not really run.
    assert counts["tests"] - counts["skipped"] > 1_200


def test_every_exclusion_is_documented_with_its_reason() -> None:
    text = (ROOT / "docs/dialect.md").read_text().split("## SQLAlchemy's own suite", 1)[1]
    rows = dict(re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", text, re.MULTILINE))
    assert rows == SERVER | SQLITE
