"""What embedded replicas hand on is held against their token's profile, as everything else is."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testbed.sqld import Sqld

from freehold.libsql.protocol import (
    BatchStep,
    Cond,
    CondAnd,
    CondError,
    CondIsAutocommit,
    CondNot,
    CondOk,
    Integer,
    Stmt,
)
from freehold.providers.sqld.client.protobuf import encoded, framed
from tests.integration.profile_parts import (
    OWN,
    SCHEMA,
    WRITING,
    batch_of,
    fresh,
    published,
    state,
    tampered,
    version_of,
)
from tests.support.gateway_app import Caller, served_by_sqld

# Replicas --------------------------------------------------------------------------------------------


def _varint(value: int) -> bytes:
    return bytes([value])


def _cond(cond: Cond) -> bytes:
    match cond:
        case CondOk(step=step):
            return encoded(1, b"\x08" + _varint(step) if step else b"")
        case CondError(step=step):
            return encoded(2, b"\x08" + _varint(step) if step else b"")
        case CondNot(cond=inner):
            return encoded(3, encoded(1, _cond(inner)))
        case CondAnd(conds=conds):
            return encoded(4, b"".join(encoded(1, _cond(each)) for each in conds))
        case CondIsAutocommit():
            return encoded(6, b"")
    raise AssertionError(cond)


def _param(value: Any) -> bytes:
    if isinstance(value, Integer):
        return encoded(1, struct.pack("<Iq", 1, int(value.value)))
    text = value.value.encode()
    return encoded(1, struct.pack("<IQ", 3, len(text)) + text)


def program(steps: Sequence[BatchStep]) -> bytes:
    """What a replica hands on: a connection's id and the steps."""
    made = b""
    for step in steps:
        query = encoded(1, (step.stmt.sql or "").encode())
        query += encoded(2, b"".join(encoded(1, _param(arg)) for arg in step.stmt.args))
        cond = b"" if step.condition is None else encoded(1, _cond(step.condition))
        made += encoded(1, cond + encoded(2, query))
    return framed(encoded(1, b"replica-1") + encoded(2, made))


async def hand_on(caller: Caller, method: str, body: bytes) -> tuple[str, str]:
    """gRPC's status and message of a call that a replica makes; the status is in the last frame if it ran."""
    async with caller.served.http.post(
        f"{caller.url}proxy.Proxy/{method}",
        data=body,
        headers={"authorization": f"Bearer {caller.token}", "content-type": "application/grpc-web"},
    ) as reply:
        await reply.read()
        return reply.headers.get("grpc-status", "0"), reply.headers.get("grpc-message", "")


async def test_replicas_hand_on_rows_and_the_registrys_batches_alone(tmp_path: Path, sqld: Sqld) -> None:
    async with served_by_sqld(tmp_path, sqld, published=published) as place:
        caller = await fresh(place, to=2)
        assert await hand_on(caller, "Execute", program([BatchStep(Stmt(sql=WRITING[0]))])) == ("0", "")
        before = await state(caller)
        for sql in (*SCHEMA, *OWN):
            for method, body in (
                ("Execute", program([BatchStep(Stmt(sql=sql))])),
                ("Describe", framed(encoded(1, b"replica-1") + encoded(2, sql.encode()))),
            ):
                status, message = await hand_on(caller, method, body)
                assert (sql, method, status) == (sql, method, "7"), message
        for what, batch in tampered():
            if any(step.stmt.sql is None for step in batch.steps) or "huge" in what or "says the same" in what:
                continue  # a replica has no way to say that
            assert (what, (await hand_on(caller, "Execute", program(batch.steps)))[0]) == (what, "7")
        assert await state(caller) == before
        for after, to in ((2, 3), (3, 4), (4, 5)):
            assert await hand_on(caller, "Execute", program(batch_of(after, to).steps)) == ("0", "")
            assert await version_of(caller) == to
        reader = await place.caller(caller.name, "read_only")
        status, message = await hand_on(reader, "Execute", program([BatchStep(Stmt(sql=WRITING[0]))]))
        assert (status, "`rows`" in message) == ("7", True)
        nobody = await place.caller(caller.name, "none")
        assert (await hand_on(nobody, "Execute", program([BatchStep(Stmt(sql="SELECT 1"))])))[0] == "7"
