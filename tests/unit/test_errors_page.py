"""docs/errors.md says what the classes of the errors declare, and they declare all that somebody may receive."""

import ast
import inspect
import re
from collections import defaultdict
from typing import get_args

from scripts.errors import PAGE, every_error, page
from testbed.servers import ROOT

from freehold import errors
from freehold.errors import FreeholdError, Kind
from freehold.http.auth.replies import auth_status_of
from freehold.http.problems import FRAMEWORK_CODES, STATUS


def test_the_page_is_as_the_classes_are() -> None:
    assert PAGE.read_text() == page(), "run `make errors`"


def test_every_code_is_on_the_page() -> None:
    listed = set(re.findall(r"^\| (?:`\w+` \| )?`([a-z_]+)` \|", PAGE.read_text(), re.MULTILINE))
    declared = {kind.code for kind in every_error()} - {"error"}
    assert listed == declared | set(FRAMEWORK_CODES.values())


def test_every_code_of_api_auth_is_on_the_page_with_its_statuses() -> None:
    expected = defaultdict[str, set[int]](set)
    for kind in every_error():
        if "better_auth" in vars(kind) and kind.better_auth.code:
            expected[kind.better_auth.code].add(auth_status_of(kind))
    section = PAGE.read_text().split("## Inside `/api/auth`")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([A-Z_…]+)` \| ([\d, ]+) \| \S.* \| \S.* \|$", section, re.MULTILINE)
    assert {code: set(map(int, statuses.split(", "))) for code, statuses in rows} == expected
    assert [code for code, _ in rows] == sorted(expected)


def test_every_error_that_is_listed_says_what_it_means_and_what_to_do() -> None:
    listed = [kind for kind in every_error() if {"code", "better_auth"} & set(vars(kind))]
    assert len(listed) > 130
    for kind in listed:
        assert (kind.__doc__ or "").split("\n\n")[0].strip().endswith("."), kind
        assert vars(kind).get("remedy", "").endswith("."), kind


def test_every_kind_has_a_status() -> None:
    assert set(STATUS) == set(get_args(Kind))


def test_an_error_that_is_raised_without_a_message_has_one() -> None:
    kinds = {kind.__name__: kind for kind in every_error()}
    bare = set()
    for path in (ROOT / "src/freehold").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Raise(exc=ast.Name(id=name)) | ast.Call(func=ast.Name(id=name), args=[], keywords=[]):
                    bare.add(name)
    bare &= kinds.keys() - {"Refusal"}
    assert len(bare) > 50
    assert sorted(name for name in bare if not str(kinds[name]())) == []


def test_the_tree_is_that_of_the_base_classes() -> None:
    drawing = (errors.__doc__ or "").partition("\n\n")[2]
    path: list[str] = []
    drawn = {}
    for branches, name in re.findall(r"^([│├└─ ]*)([A-Z]\w+)  ", drawing, re.MULTILINE):
        depth = len(branches) // 4
        path = [*path[:depth], name]
        drawn[name] = path[-2] if depth else "Exception"
    found = {
        name: kind.__base__.__name__
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, FreeholdError) and kind.__base__
    }
    assert drawn == found
