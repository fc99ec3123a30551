"""docs/errors.md has every code that a client of `/api/auth` may receive, with its statuses."""

import re
from collections import defaultdict
from collections.abc import Iterator

from testbed.servers import ROOT

from freehold.http.auth import replies
from tests.support.errors import all_errors


def refusals() -> Iterator[tuple[str, int]]:
    """The codes that the classes declare, with their statuses."""
    for kind in all_errors():
        if "better_auth" in vars(kind) and kind.better_auth.code:
            yield kind.better_auth.code, replies.auth_status_of(kind)
    yield "TOO_MANY_REQUESTS", 429


def test_every_code_of_api_auth_is_on_the_page_with_its_statuses() -> None:
    expected = defaultdict(set)
    for code, status in refusals():
        expected[code].add(status)
    section = (ROOT / "docs/errors.md").read_text().split("## Inside `/api/auth`")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([A-Z_…]+)` \| ([\d, ]+) \| \S.* \|$", section, re.MULTILINE)
    assert {code: set(map(int, statuses.split(", "))) for code, statuses in rows} == expected
    assert [code for code, _ in rows] == sorted(expected)
