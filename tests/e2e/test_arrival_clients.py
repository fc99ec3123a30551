"""The owner of an address arrives after a stranger, both with better-auth's official client."""

import json
from pathlib import Path

from testbed.servers import ROOT, Service, run_node

SCRIPT = ROOT / "tests/e2e/node/better_auth_arrival.mjs"


def test_the_official_client_gives_the_owner_their_own_password(tmp_path: Path) -> None:
    service = Service(tmp_path, RATE_LIMITS="off", EMAIL_VERIFICATION="required").start()
    try:
        played = run_node(SCRIPT, service.url, str(service.data_dir / "outbox.jsonl"))
    finally:
        service.stop()
    assert played.returncode == 0, played.stderr
    report = json.loads(played.stdout)
    assert [token for token, _ in report["answers"]] == [None, None]
    assert report["alike"], "nobody learns that the address is taken"
    assert report["before"] == "INVALID_EMAIL_OR_PASSWORD"
    assert (report["session"], report["own"]) == ("Owner", "Owner")
    assert report["stranger"] == "INVALID_EMAIL_OR_PASSWORD"
    assert report["byCode"] == [True, "INVALID_EMAIL_OR_PASSWORD"]
    assert report["refused"] == "EMAIL_NOT_VERIFIED"
    assert (report["hop"], report["again"]) == ([302, "/in"], "Owner")
