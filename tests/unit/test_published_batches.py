"""The registry's own batches are told from all others, whichever version of Freehold's client sent them."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from freehold.libsql.protocol import Batch, BatchStep, Integer, Stmt
from freehold.migrate.history import History, PublishedBatches
from freehold.migrate.plan import _transaction, plan
from freehold.migrate.types import Migration


class _Sent(msgspec.Struct):
    after: int
    to: int
    sent: str


class _Capture(msgspec.Struct):
    migrations: tuple[Migration, ...]
    batches: tuple[_Sent, ...]


# What the client of the first release with this form sent for these migrations, byte by byte. Never edit it: such
# clients are in the field. A form that is new gets a file of its own.
CAPTURE = msgspec.json.decode((Path(__file__).parent / "captures/batches_of_clients.json").read_bytes(), type=_Capture)
PUBLISHED = PublishedBatches(History(CAPTURE.migrations))


@pytest.mark.parametrize("sent", CAPTURE.batches, ids=lambda sent: f"{sent.after}-{sent.to}")
def test_what_clients_in_the_field_send_is_recognised_for_ever(sent: _Sent) -> None:
    assert PUBLISHED.includes(msgspec.json.decode(sent.sent, type=Batch))


def test_the_capture_has_every_version_alone_and_some_together() -> None:
    spans = {(sent.after, sent.to) for sent in CAPTURE.batches}
    assert {(at, at + 1) for at in range(len(CAPTURE.migrations))} <= spans
    assert any(to - after > 1 for after, to in spans)


def test_what_this_version_sends_is_recognised() -> None:
    for after in range(len(CAPTURE.migrations)):
        for together in (True, False):
            planned = plan(
                CAPTURE.migrations, PUBLISHED.history.links, after, len(CAPTURE.migrations), together=together
            )
            assert all(PUBLISHED.includes(one.batch) for one in planned)


def test_a_registry_that_went_on_still_recognises_what_an_older_one_made() -> None:
    """A client pulled before the newest versions were published."""
    for length in range(1, len(CAPTURE.migrations) + 1):
        older = History(CAPTURE.migrations[:length])
        for trip in older.round_trips(0, length, together=True):
            assert all(PUBLISHED.includes(one.batch) for one in trip)


def test_another_registrys_batches_are_not_recognised() -> None:
    changed = [
        msgspec.structs.replace(each, sql=each.sql + "-- edited\n") if each.version == 3 else each
        for each in CAPTURE.migrations
    ]
    other = PublishedBatches(History(changed))
    after = {(sent.after, sent.to): other.includes(_batch(sent)) for sent in CAPTURE.batches}
    assert {span for span, included in after.items() if included} == {span for span in after if span[1] < 3}


def test_versions_that_no_client_sends_together_are_not_recognised() -> None:
    """A rebuild goes alone, or the rest would run without foreign keys."""
    links = PUBLISHED.history.links
    for after, to in ((3, 5), (4, 6), (4, 7)):
        joined = _transaction(CAPTURE.migrations[after:to], links)
        assert not PUBLISHED.includes(joined.batch)


def _batch(sent: _Sent) -> Batch:
    return msgspec.json.decode(sent.sent, type=Batch)


def _edited() -> Iterator[tuple[str, Batch]]:
    """One thing is other than in a batch of the registry's."""
    for sent in CAPTURE.batches:
        own = _batch(sent)
        for at, step in enumerate(own.steps):
            before, behind = own.steps[:at], own.steps[at + 1 :]
            yield f"{at} left out", Batch(before + behind)
            yield f"{at} twice", Batch((*before, step, step, *behind))
            yield (f"{at} with a space", _with(own, at, msgspec.structs.replace(step.stmt, sql=f"{step.stmt.sql} ")))
            yield (
                f"{at} in capitals",
                _with(own, at, msgspec.structs.replace(step.stmt, sql=_other_case(step.stmt.sql or ""))),
            )
            yield f"{at} by number too", _with(own, at, msgspec.structs.replace(step.stmt, sql_id=1))
            yield (
                f"{at} with an argument",
                _with(own, at, msgspec.structs.replace(step.stmt, args=(*step.stmt.args, Integer("1")))),
            )
            if step.condition is not None:
                yield f"{at} at once", Batch((*before, BatchStep(step.stmt), *behind))


def _with(batch: Batch, at: int, stmt: Stmt) -> Batch:
    step = BatchStep(stmt, batch.steps[at].condition)
    return Batch((*batch.steps[:at], step, *batch.steps[at + 1 :]))


def _other_case(sql: str) -> str:
    return sql.lower() if sql.lower() != sql else sql.upper()


def test_a_batch_with_one_thing_changed_is_not_recognised() -> None:
    edited = list(_edited())
    assert len(edited) > 500
    assert [what for what, batch in edited if PUBLISHED.includes(batch)] == []


@pytest.mark.parametrize(
    "steps",
    [
        (),
        ("INSERT INTO freehold_ledger",),
        ("INSERT INTO freehold_ledger SELECT ?",) * 3,
        ("PRAGMA foreign_keys = OFF",),
    ],
)
def test_odd_batches_are_not_recognised(steps: tuple[str, ...]) -> None:
    for args in ((), (Integer("1"),), (Integer("-1"),) * 6, (Integer("٣"),) * 6, (Integer("9" * 4000),) * 6):
        batch = Batch(tuple(BatchStep(Stmt(sql=sql, args=args)) for sql in steps))
        assert not PUBLISHED.includes(batch)
