"""The facts about each namespace's schema, so that a statement is judged before sqld prepares it.

sqld lets everyone write the tables that belong to its indexes, and expands views without bounds. Neither is visible in
a statement's text alone. So the schema's facts are read once per database, and again after anything that could have
changed them. What a call here may change counts from before it is sent until the facts have been read again: no other
call overtakes it.
"""

import asyncio
import math
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import msgspec

from freehold.errors import ProviderUnavailable
from freehold.libsql.protocol import CloseReq, ExecuteReq, PipelineReq, PipelineResp, Stmt, StreamError
from freehold.libsql.values import decode
from freehold.providers.desk import Desk
from freehold.providers.serving import Disconnect
from freehold.providers.sqld.checks.known import CHANGES, SHADOWS
from freehold.providers.sqld.checks.transactions import TRANSACTION_S
from freehold.providers.sqld.client.namespaces import Namespaces
from freehold.providers.sqld.client.refusals import Refusal, in_place_of, refusal
from freehold.sql.facts import FACTS_SQL, NO_FACTS, Facts, changed_by
from freehold.sql.guard import RefusedSql, answerable, judged, may_change_schema, read_facts, shapes, writes_shadow
from freehold.sql.shadow import may_be_shadow, owned_by
from freehold.sql.shape import Shape

Result = TypeVar("Result")

# Only another process of Freehold can change a schema unseen: by a migration, or for a client that may do so.
_TRUSTED_S = 60.0
_TRUSTED_FOR_SHADOWS_S = 5.0
# Beyond the longest transaction.
_MARGIN_S = 30.0
_READ_S = 5.0
_READERS = 8
_REMEMBERED = 5000
_LIST_IS_LARGE = (
    "some view is too large for a list of all tables once the views in it are written out; ask for each table by its "
    "name, or drop that view"
)

_encode = msgspec.json.Encoder().encode
_answer_of = msgspec.json.Decoder(PipelineResp).decode
_READ = _encode(PipelineReq((ExecuteReq(Stmt(sql=FACTS_SQL)), CloseReq())))


class _Change:
    """A text that changes the schema: under way, and afterwards until its outcome is known."""

    __slots__ = ("shape", "until")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.until = math.inf


class _Known:
    """The known facts about one schema."""

    __slots__ = ("changes", "facts", "lock", "read_at", "rows", "settled", "visits", "writing")

    def __init__(self) -> None:
        self.rows: list[list[object]] = []
        self.facts = NO_FACTS
        self.read_at = -math.inf
        self.settled = 0  # number of finished calls that may have changed it
        self.changes: list[_Change] = []
        self.writing: Counter[str] = Counter()  # tables being written that could become shadow tables
        self.visits = 0
        self.lock = asyncio.Lock()

    def with_changes(self) -> Facts:
        facts = self.facts
        for change in self.changes:
            facts = changed_by(facts, change.shape)
        return facts


class AskOtherwise(RefusedSql):
    """Some texts may not run as they are; `instead` has texts with the same answer, or that fail with the reason."""

    def __init__(self, instead: Mapping[str, str], reason: str) -> None:
        super().__init__(reason)
        self.instead = instead


class Schemas:
    """Judges calls by the schemas of their databases. For one event loop."""

    def __init__(
        self,
        namespaces: Namespaces,
        desk: Desk,
        *,
        transaction_s: float = TRANSACTION_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`transaction_s` is how long a transaction may be open."""
        self._unsettled_s = transaction_s + _MARGIN_S
        self._namespaces = namespaces
        self.desk = desk
        self._now = now
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._readers = asyncio.Semaphore(_READERS)

    async def run(
        self,
        act: Callable[[], Awaitable[Result]],
        database_name: str,
        texts: Sequence[str],
        disconnect: Disconnect,
        *,
        hints: int,
        may_change: bool,
        leaves_stream: bool,
    ) -> Result:
        """Send a call with these texts to the database if they may run: `act` sends it, and its result is returned.

        `hints` are those of all texts, see `Known`.

        Raises:
            AskOtherwise: it may run with other texts. Those need not be judged again.
            RefusedSql: some text may not run on a database with this schema.
            NotFound, ProviderUnavailable: the schema cannot be read.
        """
        known = self._of(database_name)
        known.visits += 1
        try:
            if self._is_old(known, hints, may_change=may_change):
                await self._refresh(known, database_name, disconnect)
            if not (known.changes or known.facts.matters or hints & CHANGES):
                return await act()
            async with self._judged(known, database_name, texts, disconnect, leaves_stream=leaves_stream):
                return await act()
        finally:
            known.visits -= 1

    @asynccontextmanager
    async def _judged(
        self, known: _Known, database_name: str, texts: Sequence[str], disconnect: Disconnect, *, leaves_stream: bool
    ) -> AsyncIterator[None]:
        facts = known.with_changes()
        if facts.too_large or not facts.may_list:
            await self.desk.run_soon(database_name, disconnect, lambda: _check_looks(texts, facts))
        found = await self.desk.run_soon(database_name, disconnect, lambda: _shapes(texts, facts))
        _refuse_overtaking(found, known)
        # Nobody else can intervene from here to the first `await`.
        changes = [_Change(each) for _, each in found if each.made or each.verb in {"alter", "drop"}]
        writing = Counter(name for _, each in found for name in each.writes if may_be_shadow((name,)))
        known.changes += changes
        known.writing += writing
        try:
            yield
        finally:
            known.writing -= writing
            if changes:
                self._settle(known, changes, after_s=self._unsettled_s if leaves_stream else 0.0)

    def _settle(self, known: _Known, changes: Sequence[_Change], after_s: float) -> None:
        for change in changes:
            change.until = self._now() + after_s
        known.settled += 1

    def _of(self, database_name: str) -> _Known:
        known = self._known.get(database_name)
        if known is None:
            known = self._known[database_name] = _Known()
            if len(self._known) > _REMEMBERED:
                for name in [name for name, old in self._known.items() if not (old.visits or old.changes)][:100]:
                    del self._known[name]
        else:
            self._known.move_to_end(database_name)
        return known

    async def _refresh(self, known: _Known, database_name: str, disconnect: Disconnect) -> None:
        asked_at = self._now()
        async with known.lock:
            if known.read_at > asked_at:
                return  # someone else has read it meanwhile
            while True:
                began, settled = self._now(), known.settled
                over = [change for change in known.changes if change.until <= began]
                rows = await self._read(database_name)
                if rows != known.rows:
                    known.facts = await self.desk.run_soon(database_name, disconnect, partial(read_facts, rows))
                    known.rows = rows
                if known.settled == settled:
                    break
            known.read_at = began
            known.changes = [change for change in known.changes if change not in over]

    def _is_old(self, known: _Known, hints: int, *, may_change: bool) -> bool:
        now = self._now()
        age_s = now - known.read_at
        if age_s > _TRUSTED_S or (known.changes and any(change.until <= now for change in known.changes)):
            return True
        if not hints & (CHANGES | SHADOWS):
            return False
        if may_change and hints & CHANGES:
            return True
        trusted_s = 0.0 if may_change else _TRUSTED_FOR_SHADOWS_S
        return bool(hints & SHADOWS) and age_s > trusted_s

    async def _read(self, database_name: str) -> list[list[object]]:
        """The rows of `FACTS_SQL`; none if the database is suspended."""
        try:
            async with self._readers, asyncio.timeout(_READ_S):
                answer = await self._namespaces.post(database_name, "read_only", "/v3/pipeline", _READ)
                body = await answer.read()
        except TimeoutError as error:
            raise ProviderUnavailable("sqld does not tell the schema in time; nothing has run") from error
        if answer.status != 200:
            raise refusal(answer.status, body)
        result = _answer_of(body).results[0]
        if isinstance(result, StreamError):
            if result.error.code == "BLOCKED":
                return []
            raise Refusal(result.error.message, result.error.code or "SQLITE_UNKNOWN")
        rows = getattr(getattr(result.response, "result", None), "rows", ())
        return [[decode(value) for value in row] for row in rows]


def _shapes(texts: Sequence[str], facts: Facts) -> list[tuple[str, Shape]]:
    """The shapes of all statements that matter, with their texts; each is judged after those before it. Blocks.

    Raises:
        AskOtherwise: some of them may not run.
    """
    found: list[tuple[str, Shape]] = []
    refused: dict[str, RefusedSql] = {}
    for sql in texts:
        try:
            facts = judged(sql, facts)
        except RefusedSql as error:
            refused[sql] = error
            continue
        if facts.matters or may_change_schema(sql) or writes_shadow(sql):
            found += [(sql, shape) for shape in shapes(sql)]
    _refuse(refused)
    return found


def _check_looks(texts: Sequence[str], facts: Facts) -> None:
    instead: dict[str, str] = {}
    refused: dict[str, RefusedSql] = {}
    for sql in texts:
        try:
            if (other := answerable(sql, facts)) != sql:
                judged(sql, facts)
                instead[sql] = other
        except RefusedSql as error:
            refused[sql] = error
    _refuse(refused, instead)


def _refuse(refused: Mapping[str, RefusedSql], instead: Mapping[str, str] | None = None) -> None:
    """Raise if a text is refused or replaced."""
    if refused or instead:
        reason = next(map(str, refused.values()), _LIST_IS_LARGE)
        raise AskOtherwise({**(instead or {}), **{sql: in_place_of(error) for sql, error in refused.items()}}, reason)


def _refuse_overtaking(found: Sequence[tuple[str, Shape]], known: _Known) -> None:
    """Refuse to create an object that would own a table being written now."""
    refused = {
        sql: RefusedSql(f"the table `{name}` is being written; try again in a moment")
        for sql, shape in found
        for name in owned_by(shape)
        if known.writing[name]
    }
    _refuse(refused)
