"""SQLAlchemy's own suite for dialects passes against a real server, and what is left out of it is documented."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from testbed.servers import ROOT
from testbed.sqld import running_sqld

from tests.dialect.requirements import SERVER, SQLITE
from tests.dialect.run import run_suite


@pytest.mark.timeout(600)
def test_the_dialect_passes_sqlalchemys_suite(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    with running_sqld() as server:
        done = run_suite(server, "--tb=short", f"--junitxml={report}")
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
