"""A request that chose what is no choice is told what there is, under the name that it sent."""

from enum import StrEnum
from typing import Annotated, Literal

import msgspec
import pytest
from litestar import Litestar, get, post
from litestar.params import JSONBody, QueryParameter
from litestar.testing import TestClient

from freehold.http.problems import EXCEPTION_HANDLERS


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Part(msgspec.Struct, rename="camel"):
    how_big: Literal["small", "large"]


class Thing(msgspec.Struct):
    parts: list[Part] = []
    by_name: dict[str, Part] = {}
    colour: Colour | None = None
    number: int = 0


@get("/things")
async def things(
    *,
    in_colour: Annotated[Colour | None, QueryParameter(name="colour")] = None,
    profile: Annotated[Literal["none", "full"], QueryParameter()] = "none",
) -> None:
    pass


@post("/things")
async def add(data: JSONBody[Thing]) -> None:
    pass


@pytest.mark.parametrize(
    ("query", "body", "fault"),
    [
        ("colour=green", None, "colour: expected `red` or `blue`, got 'green'"),
        ("profile=most", None, "profile: expected `none` or `full`, got 'most'"),
        ("", {"colour": "green"}, "colour: expected `red` or `blue`, got 'green'"),
        (
            "",
            {"parts": [{"howBig": "small"}, {"howBig": "huge"}]},
            "parts[1].howBig: expected `small` or `large`, got 'huge'",
        ),
        ("", {"number": "x"}, "number: Expected `int`, got `str`"),
    ],
)
def test_the_choices_are_in_the_fault(query: str, body: object, fault: str) -> None:
    app = Litestar([things, add], exception_handlers=EXCEPTION_HANDLERS, openapi_config=None)
    with TestClient(app) as http:
        reply = http.get(f"/things?{query}") if body is None else http.post("/things", json=body)
    assert (reply.status_code, reply.json()["faults"]) == (400, [fault])


def test_a_mapping_is_looked_into_as_well() -> None:
    app = Litestar([add], exception_handlers=EXCEPTION_HANDLERS, openapi_config=None)
    with TestClient(app) as http:
        [fault] = http.post("/things", json={"by_name": {"a": {"howBig": "huge"}}}).json()["faults"]
    assert "expected `small` or `large`" in fault
