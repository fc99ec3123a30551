"""What came in an outbox: the newest code or link to an address."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class OutboxReader:
    path: Path

    def mails(self, to: str = "") -> list[dict[str, str]]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [mail for line in lines if (mail := json.loads(line))["to"] == to or not to]

    def code(self, to: str) -> str:
        """The newest six digits."""
        found = re.findall(r"(?m)^\d{6}$", self.mails(to)[-1]["text"])
        assert len(found) == 1
        return str(found[0])

    def link(self, to: str) -> str:
        """The newest link."""
        found = re.findall(r"(?m)^https?://\S+$", self.mails(to)[-1]["text"])
        assert len(found) == 1
        return str(found[0])

    def token(self, to: str) -> str:
        """The token of the newest link, in its query or at the end of its path."""
        parts = urlsplit(self.link(to))
        named = parse_qs(parts.query).get("token")
        return named[0] if named else parts.path.rpartition("/")[2]
