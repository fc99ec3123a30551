"""Client reports waiting to be stored. Users are identified later, and no client can crowd out another."""

import asyncio
import hashlib
import hmac
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from freehold.errors import CentralUnavailable, FreeholdError
from freehold.log import get_logger
from freehold.registry.release import app_order

log = get_logger()

DEVICES_OF_USER = 8
DEVICES_OF_PLACE = 32
# Memory must not grow with what strangers send: each kind has its own limit, and each address its share of it.
_MOST_ANONYMOUS = 10_000
_MOST_USERS = 10_000
_MOST_CLAIMS = 10_000
_CLAIMS_OF_ADDRESS = 256


class Credential(Struct, frozen=True):
    """A credential from a request. Never stored."""

    kind: Literal["session", "access_token", "api_key"]
    text: str


# Returns the credential's user id, or None if it is not valid. Raises `CentralUnavailable`.
Who = Callable[[Credential], Awaitable[str | None]]


class UserReport(Struct, frozen=True, kw_only=True):
    """The latest report of one device of a user. `device` is a hash of the id it sent, or empty."""

    user_id: str
    device: str
    app_version: str
    app_order: str
    schema_version: int
    seen_at_ms: int


class ClientReport(Struct, frozen=True):
    """The latest report of a device without a user. `app_version` is empty if not sent, `place` if not known."""

    device: str
    app_version: str
    schema_version: int
    seen_at_ms: int
    place: str = ""


def place_key(secret: str) -> bytes:
    """Return the key for hashing addresses, derived from the service's secret, which the database does not hold."""
    return hmac.digest(secret.encode(), b"freehold census places", "sha256")


class _Claim(Struct, frozen=True):
    report: ClientReport
    credential: Credential


class TakenDown:
    """Three queues: claims yet to be identified, users' reports, and anonymous reports."""

    def __init__(self, who: Who | None, place_key: bytes) -> None:
        self._who = who
        self._place_key = place_key
        self._claims: defaultdict[str, dict[tuple[Credential, str], _Claim]] = defaultdict(dict)
        self._claims_waiting = 0
        self._users: dict[str, dict[str, UserReport]] = {}
        self._anonymous: dict[str, ClientReport] = {}
        self._of_place: Counter[str] = Counter()

    @property
    def is_full(self) -> bool:
        """Whether it is time to write, regardless of when the last write was."""
        return len(self._users) >= _MOST_USERS

    def note(
        self, device: str, app: str, schema_version: int, *, address: str, credential: Credential | None, now_ms: int
    ) -> None:
        """Queue a report; `app` is a version or empty."""
        key = hashlib.sha256(device.encode()).hexdigest()[:32] if device else ""
        report = ClientReport(key, app, schema_version, now_ms, address)
        if credential is None or self._who is None:
            self._add_anonymous(report)
        elif device or app:
            of_address = self._claims[address]
            claimed = (credential, key)
            if claimed not in of_address:
                if len(of_address) >= _CLAIMS_OF_ADDRESS or self._claims_waiting >= _MOST_CLAIMS:
                    return
                self._claims_waiting += 1
            of_address[claimed] = _Claim(report, credential)

    async def settle(self) -> None:
        """Identify the users of the claims. Raises `CentralUnavailable`; the claims stay queued then."""
        if self._claims_waiting:
            # In its own task: identifying a user sets the current actor, and here there is none.
            await asyncio.create_task(self._settle())

    async def _settle(self) -> None:
        claims = [claim for of_address in self._claims.values() for claim in of_address.values()]
        self._claims.clear()
        self._claims_waiting = 0
        known: dict[Credential, str | None] = {}
        for number, claim in enumerate(claims):
            if claim.credential not in known:
                try:
                    known[claim.credential] = await self._recognise(claim.credential)
                except BaseException:
                    self._put_claims_back(claims[number:])
                    raise
            user_id = known[claim.credential]
            if user_id is None:
                self._add_anonymous(claim.report)
            else:
                self._add_user(user_id, claim.report)

    async def _recognise(self, credential: Credential) -> str | None:
        assert self._who is not None
        try:
            return await self._who(credential)
        except CentralUnavailable:
            raise
        except FreeholdError as error:
            log.debug("census.not_recognised", code=error.code)
            return None

    def take_users(self) -> Sequence[UserReport]:
        """Remove and return the users' reports that are due for writing."""
        taken, self._users = self._users, {}
        return [report for devices in taken.values() for report in devices.values()]

    def take_anonymous(self) -> Sequence[ClientReport]:
        """Remove and return the anonymous reports. Their `place` is still an address: see `hidden`."""
        taken, self._anonymous = self._anonymous, {}
        self._of_place.clear()
        return list(taken.values())

    def hidden(self, reports: Sequence[ClientReport]) -> Sequence[ClientReport]:
        """Return the reports with keyed hashes for addresses. A plain hash could be reversed by trying all."""
        return [replace(report, place=self._hidden(report.place)) for report in reports]

    def put_users_back(self, reports: Sequence[UserReport]) -> None:
        """Queue unwritten reports again, without overwriting newer ones."""
        for report in (*reports, *self.take_users()):
            self._keep(report)

    def put_anonymous_back(self, reports: Sequence[ClientReport]) -> None:
        """Queue unwritten reports again, without overwriting newer ones."""
        for report in reports:
            if report.device not in self._anonymous:
                self._add_anonymous(report)

    def _put_claims_back(self, claims: Sequence[_Claim]) -> None:
        for claim in claims:
            self._claims[claim.report.place].setdefault((claim.credential, claim.report.device), claim)
        self._claims_waiting = sum(map(len, self._claims.values()))

    def _add_user(self, user_id: str, report: ClientReport) -> None:
        self._keep(
            UserReport(
                user_id=user_id,
                device=report.device,
                app_version=report.app_version,
                app_order=app_order(report.app_version),
                schema_version=report.schema_version,
                seen_at_ms=report.seen_at_ms,
            )
        )

    def _keep(self, report: UserReport) -> None:
        devices = self._users.setdefault(report.user_id, {})
        devices.pop(report.device, None)
        devices[report.device] = report
        if len(devices) > DEVICES_OF_USER:
            del devices[next(iter(devices))]

    def _add_anonymous(self, report: ClientReport) -> None:
        if not report.device:
            return
        if known := self._anonymous.get(report.device):
            self._of_place[known.place] -= 1
        else:
            is_crowded = report.place and self._of_place[report.place] >= DEVICES_OF_PLACE
            if is_crowded or len(self._anonymous) >= _MOST_ANONYMOUS:
                return
        self._of_place[report.place] += 1
        self._anonymous[report.device] = report

    def _hidden(self, place: str) -> str:
        return hmac.digest(self._place_key, place.encode(), "sha256").hex()[:16] if place else ""
