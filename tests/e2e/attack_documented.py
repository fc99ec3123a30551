"""Whether an answer is one of those that the API description lists for its route."""

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx

Documented = dict[str, dict[str, frozenset[int]]]
"""Path, method, statuses."""


@dataclass(frozen=True)
class Description:
    """What a service says of itself at `/schema`."""

    exact: Documented = field(default_factory=dict)
    templates: list[tuple[re.Pattern[str], dict[str, frozenset[int]]]] = field(default_factory=list)

    def missing(self, method: str, target: str, status: int) -> str:
        """What the description lacks if it does not list this status; nothing for what it does not describe."""
        path = target.partition("?")[0].partition("#")[0]
        found = self.exact.get(path)
        if found is None:
            found = next((methods for shape, methods in self.templates if shape.fullmatch(path)), {})
        if method not in found or status in found[method]:
            return ""
        return f"/schema does not list {status} for {method} {path[:200]}"


def description_of(document: dict[str, Any]) -> Description:
    """The same, read from the document."""
    made = Description()
    for path, item in document["paths"].items():
        methods = {
            method.upper(): frozenset(int(status) for status in operation["responses"])
            for method, operation in item.items()
            if method != "parameters"
        }
        if "{" in path:
            shape = "[^/]+".join(re.escape(part) for part in re.split(r"\{\w+\}", path))
            made.templates.append((re.compile(shape), methods))
        else:
            made.exact[path] = methods
    return made


@cache
def described_by(port: int) -> Description:
    """The description of the service at this port. Read once."""
    reply = httpx.get(f"http://127.0.0.1:{port}/schema/openapi.json", timeout=30)
    # A service that serves no such thing, such as one behind a front of its own, is held to nothing.
    return description_of(reply.json()) if reply.status_code == 200 else Description()
