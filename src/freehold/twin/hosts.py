"""How a database's Hostname leads to it.

Turso gives each database a name of its own, `<database>-<organization>.turso.io`. On this machine that is a name
below `localhost` where such names resolve, else a path, which works everywhere: official clients resolve against it
because it ends in `/`.
"""

import socket
from dataclasses import dataclass
from typing import Literal

Place = Literal["names", "paths"]
_PATH = "/db/"
_DOMAIN = "localhost"


@dataclass(frozen=True, slots=True)
class Hosts:
    """Both ways are always served; `place` says which one the API returns."""

    organization: str
    port: int
    place: Place

    def hostname(self, database_name: str) -> str:
        """The rest of the database's URL after `http://`."""
        label = f"{database_name}-{self.organization}"
        if self.place == "names":
            return f"{label}.{_DOMAIN}:{self.port}"
        return f"127.0.0.1:{self.port}{_PATH}{label}/"

    def named_by(self, host: str, path: str) -> tuple[str, str] | None:
        """The database that a request is for and the path below it, or None if it is for the Platform API."""
        label, _, domain = host.partition(":")[0].partition(".")
        if domain == _DOMAIN:
            return self._database(label), path.lstrip("/")
        if path.startswith(_PATH):
            label, _, rest = path.removeprefix(_PATH).partition("/")
            # Some clients add a slash of their own.
            return self._database(label), rest.strip("/")
        return None

    def _database(self, label: str) -> str:
        name = label.removesuffix(f"-{self.organization}")
        return name if name != label else ""


def best_place() -> Place:
    """Names, if programs on this machine resolve any name below `localhost`. Blocking."""
    try:
        found = socket.getaddrinfo(f"freehold-probe.{_DOMAIN}", 80, family=socket.AF_INET)
    except OSError:
        return "paths"
    return "names" if found and found[0][4][0] == "127.0.0.1" else "paths"
