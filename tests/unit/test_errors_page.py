"""docs/errors.md has every code that a client of `/api/auth` may receive, with its statuses."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator

from testbed.servers import ROOT

from freehold.http.auth import origin_check, replies

_HTTP = ROOT / "src/freehold/http"


def refusals() -> Iterator[tuple[str, int]]:
    """Codes and statuses as they stand in the source: of our errors, and where a request is refused."""
    for status, code, _ in replies._KNOWN.values():
        if code:
            yield code, status
    for path in _HTTP.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="Refusal"),
                    args=[ast.Constant(value=int(status)), ast.Constant(value=str(code)), *_],
                ) if code:
                    yield code, status
    for code in origin_check.OriginFault.__args__:  # type: ignore[attr-defined]
        yield code, 403
    yield "TOO_MANY_REQUESTS", 429


def test_every_code_of_api_auth_is_on_the_page_with_its_statuses() -> None:
    expected = defaultdict(set)
    for code, status in refusals():
        expected[code].add(status)
    section = (ROOT / "docs/errors.md").read_text().split("## Inside `/api/auth`")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([\d, ]+) \| \S.* \|$", section, re.MULTILINE)
    assert {code: set(map(int, statuses.split(", "))) for code, statuses in rows} == expected
    assert [code for code, _ in rows] == sorted(expected)
