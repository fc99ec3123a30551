"""More tenants than sqld keeps open: it denies some that it has, and no client and no applier may believe it.

sqld keeps 100 open by default; of four times as many it denies some dozens. `FREEHOLD_MANY_TOUCHES` makes it as long as
one likes.
"""

import asyncio
import os
import random
from pathlib import Path

import pytest
from testbed.sqld import running_sqld

from freehold.errors import Conflict
from freehold.libsql.protocol import Batch, BatchStep, Stmt
from tests.support.gateway_app import Caller, served_by_sqld

_TENANTS = 400
_TOUCHES = int(os.environ.get("FREEHOLD_MANY_TOUCHES", "1200"))
_WORKERS = 8
_SELECT = Batch(steps=(BatchStep(stmt=Stmt(sql="select name from mine")),))


async def test_no_tenant_is_ever_denied(tmp_path: Path) -> None:
    denials = 0
    with running_sqld() as sqld:
        # How long one call may wait on a busy machine is not asked here.
        async with served_by_sqld(tmp_path, sqld, query_timeout_s=60.0) as served:
            names = [f"t-{number}" for number in range(_TENANTS)]
            made = asyncio.Semaphore(_WORKERS)

            async def make(name: str) -> Caller:
                async with made:
                    caller = await served.database(name)
                    await caller.run("create table mine(name)")
                    await caller.run("insert into mine values (?)", name)
                    return caller

            callers = await asyncio.gather(*(make(name) for name in names))
            chosen = random.Random(7)

            async def touch() -> None:
                for _ in range(_TOUCHES // _WORKERS):
                    caller = chosen.choice(callers)
                    if chosen.random() < 0.5:
                        assert await caller.rows("select name from mine") == [[caller.name]]
                    else:  # as an applier does
                        target = await served.provider.open(caller.name)
                        (result,) = await target.run([_SELECT])
                        assert result.step_errors == [None], (caller.name, result)

            await asyncio.gather(*(touch() for _ in range(_WORKERS)))
        denials = sqld.log().count("404 Not Found, NamespaceDoesntExist")
    # Or the test shows nothing: sqld did deny some, and none of that was seen.
    assert denials > 0


async def test_a_fork_leaves_a_database_of_that_name_alone_although_sqld_does_not_keep_it_open(tmp_path: Path) -> None:
    """sqld itself fails at its files, and then forgets it."""
    with running_sqld("--max-active-namespaces", "4") as sqld:
        async with served_by_sqld(tmp_path, sqld, query_timeout_s=60.0) as served:
            callers = [await served.database(f"t-{number}") for number in range(12)]
            for caller in callers:
                await caller.run("create table mine(name)")
                await caller.run("insert into mine values (?)", caller.name)
            source, *others = callers
            for other in others:
                with pytest.raises(Conflict):
                    await served.provider.fork(source.name, other.name)
            for caller in callers:
                assert await caller.rows("select name from mine") == [[caller.name]]
