"""The service that hostile people attack, as a process of its own."""

import contextlib
from pathlib import Path

from testbed.hostile.accounts import GUESTS_EACH
from testbed.hostile.aged import FRESH_S
from testbed.processes import family
from testbed.servers import Service, missing
from testbed.sqld import BINARY

MAX_SIZE_MB = 8

_RATES = (*("RATE_LIMIT_AUTH", "RATE_LIMIT_MAIL", "RATE_LIMIT_API", "RATE_LIMIT_API_ADDRESS"), "RATE_LIMIT_DATABASES")


class Served(Service):
    """The service with what it needs; `kind` says where databases are."""

    def __init__(self, folder: Path, kind: str, profile: str, **more: str) -> None:
        variables = {
            # Rates do not stop them here, the walls behind do; but for how many passwords are hashed for one address,
            # and how many guests it has.
            "RATE_LIMITS": "on",
            **dict.fromkeys(_RATES, "off"),
            "RATE_LIMIT_NEW_DATABASES": f"{GUESTS_EACH}/3600",
            # A bystander signs in by code often, from one place. `off` would lift the delays after wrong codes.
            "RATE_LIMIT_CODES": "1000/3600",
            "TRUSTED_PROXIES": "127.0.0.1",
            "TENANTMAX_SIZE_MB": str(MAX_SIZE_MB),
            "DATABASE_TOKEN_PROFILE": profile,
            "BETTER_AUTH_SECRET": "s" * 40,
            "TENANT_TOKEN_TTL_S": "86400",
            "SESSION_FRESH_S": str(FRESH_S),
            **more,
        }
        if kind == "sqld":
            if not BINARY.exists():
                missing("sqld is not installed: run `make test` once")
            variables["SQLD_BINARY"] = str(BINARY)
        super().__init__(folder, **variables)
        self.kind = kind
        self.verb = ("dev", "sqld") if kind == "sqld" else ("serve",)

    def sqld_id(self) -> int | None:
        """The process of its sqld, if it runs."""
        for each in family(self.process_id)[1:]:
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0")
                if words and words[0].endswith(b"/sqld"):
                    return each
        return None
