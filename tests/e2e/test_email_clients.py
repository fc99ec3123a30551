"""An app with better-auth's official client, unmodified: codes, links, sessions, and leaving."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from testbed.servers import ROOT, Service, run_node


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The script does in seconds what takes a person longer than the limits of an address do."""
    running = Service(tmp_path_factory.mktemp("service"), RATE_LIMITS="off").start()
    yield running
    running.stop()


def test_the_official_client_does_all_that_goes_by_mail(service: Service) -> None:
    outbox = service.data_dir / "outbox.jsonl"
    script = ROOT / "tests/e2e/node/better_auth_email.mjs"
    ended = run_node(script, service.url, str(outbox))
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "sent": {"success": True},
        "khmer": True,
        "wrong": [400, "INVALID_OTP"],
        "checked": [400, "USER_NOT_FOUND"],
        "signedIn": ["js-otp@example.com", True, "Sokha"],
        "session": "js-otp@example.com",
        "used": [400, "INVALID_OTP"],
        "updated": {"status": True},
        "user": ["សុខា", "https://img.example/a.png", True],
        "verification": {"status": True},
        "arabic": True,
        "verified": [302, "/done", True],
        "moved": [302, "/moved", "js-moved@example.com"],
        "movedByCode": "js-moved-again@example.com",
        "page": "/reset",
        "reset": {"status": True},
        "resetAgain": [400, "INVALID_TOKEN"],
        "resetByCode": {"success": True},
        "oldPassword": [401, "INVALID_EMAIL_OR_PASSWORD"],
        "newPassword": "js-moved-again@example.com",
        "verifiedByCode": True,
        "sessions": [2, True],
        "revoked": {"status": True},
        "ended": None,
        "endedToo": [None, "js-devices@example.com"],
        "changed": ["string", None, "js-devices@example.com"],
        "accounts": [["credential", []]],
        "notDeleted": [400, "INVALID_PASSWORD"],
        "deleted": {"success": True, "message": "User deleted"},
        "gone": [None, [401, "INVALID_EMAIL_OR_PASSWORD"]],
        "revokeAll": [401, "UNAUTHORIZED"],
        "nobody": [True, True, None],
        "stranger": [403, "INVALID_REDIRECT_URL"],
    }
    assert _leaks(service, outbox) == []


def _leaks(service: Service, outbox: Path) -> list[str]:
    """Codes and tokens from the mails that stand in the log or in the central database."""
    texts = [json.loads(line)["text"] for line in outbox.read_text().splitlines()]
    codes = {line for text in texts for line in text.splitlines() if line.isdigit()}
    links = [urlsplit(line) for text in texts for line in text.splitlines() if line.startswith("http")]
    tokens = {parse_qs(link.query).get("token", [link.path.rpartition("/")[2]])[0] for link in links}
    assert len(codes) >= 4
    assert len(tokens) >= 3
    log = service.log()
    stored = b"".join(path.read_bytes() for path in service.data_dir.glob("central.db*"))
    # Six digits stand somewhere by chance, in a time or a length; a code would be a value of its own.
    return [code for code in codes if f'"{code}"' in log] + [
        token for token in tokens if token in log or token.encode() in stored
    ]
