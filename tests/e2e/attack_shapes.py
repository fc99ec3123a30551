"""What a refusal must look like, by where it comes from."""

import re

from testbed.servers import ROOT

from tests.e2e.attack_wire import Answer

DOCUMENTED = frozenset(re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs/errors.md").read_text(), flags=re.MULTILINE))
WITHOUT_A_CODE = {
    "No fields to update",
    "Email is the same",
    "Invalid OTP type",
    "You are not impersonating anyone",
    "Failed to find admin session",
    "invalid permission check. no permission(s) were passed.",
}
"""better-auth's own exceptions."""
_NOT_HTTP = b"Invalid HTTP request received."
_TECHNICAL = re.compile(r"Traceback|File \"|line \d+, in |msgspec|litestar|sqlalchemy|apsw|<class|object at 0x", re.I)


def check_refusal(answer: Answer, target: str | bytes) -> None:
    """It is a 4xx that says what is wrong, in the form of its part of the service."""
    path = (target if isinstance(target, str) else target.decode("latin-1")).split("?")[0]
    assert 400 <= answer.status < 500, answer
    if answer.status == 400 and answer.body == _NOT_HTTP:
        return  # what is not HTTP reaches no application
    assert not _TECHNICAL.search(answer.body.decode()), answer
    if answer.header("content-type") == "application/problem+json":
        assert not path.startswith(("/db/", "/api/auth/")) or answer.json["detail"] == "Invalid host header", answer
        _check_problem(answer)
    elif path.startswith("/api/auth"):
        _check_auth(answer)
    else:
        assert path.startswith("/db"), answer
        _check_hrana(answer)


def _check_problem(answer: Answer) -> None:
    found = answer.json
    assert found["type"] == "about:blank", answer
    assert found["status"] == answer.status, answer
    assert found["code"] in DOCUMENTED, answer
    assert found["title"], answer
    assert found["detail"], answer
    assert all(isinstance(fault, str) and fault for fault in found.get("faults", [])), answer


def _check_auth(answer: Answer) -> None:
    if answer.status == 429:  # better-auth's own has no code
        assert set(answer.json) == {"message"}, answer
        assert int(answer.header("x-retry-after")) > 0, answer
        return
    if not answer.body:
        assert answer.status in {401, 404}, answer
        return
    found = answer.json
    if found.get("message") in WITHOUT_A_CODE:
        assert set(found) == {"message"}, answer
        return
    assert set(found) == {"code", "message"}, answer
    assert re.fullmatch(r"[A-Z_]+", found["code"]), answer


def _check_hrana(answer: Answer) -> None:
    assert answer.header("content-type") == "application/json", answer
    found = answer.json
    assert set(found) == {"code", "message"}, answer
    assert re.fullmatch(r"[A-Z_0-9]+", found["code"]), answer
    assert found["message"], answer
