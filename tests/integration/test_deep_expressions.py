"""How deep an expression may be is the same on both engines: what a program asks for in good faith passes."""

import uuid
from collections.abc import Callable

import pytest

from tests.support.gateway_app import Served

EXPRESSIONS: dict[str, Callable[[int], str]] = {
    "likes": lambda n: "select count(*) from t where " + " or ".join(["a like ?"] * n),
    "equals": lambda n: "select count(*) from t where " + " or ".join(f"a = {i}" for i in range(n)),
    "both": lambda n: "select count(*) from t where " + " and ".join(f"a <> {i}" for i in range(n)),
    "sums": lambda n: "select count(1" + " + 1" * n + ") from t where a",
    "texts": lambda n: "select count('x'" + " || 'x'" * n + ") from t where a",
}


@pytest.mark.parametrize("name", EXPRESSIONS)
async def test_nine_hundred_terms_pass_and_ten_thousand_do_not(gateway: Served, name: str) -> None:
    caller = await gateway.database(f"t-{uuid.uuid4().hex[:12]}")
    await caller.run("create table t(a)")
    count = 900
    arguments = ["%x%"] * count if name == "likes" else []
    assert await caller.rows(EXPRESSIONS[name](count), *arguments) == [[0]]
    failed = await caller.run(EXPRESSIONS[name](10_000), *(arguments * 11 if arguments else []))
    assert "maximum depth 1000" in failed["message"]
    assert await caller.rows("select 1") == [[1]]
