"""The twin says what Turso's own OpenAPI description says, in its description and in its answers.

The description is not ours to ship: `REFERENCE_DIR` names a folder with `turso-openapi.json`.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed.twin import ORGANIZATION, Twin, running_twin

# What people and invoices are to a platform, the twin does not play.
_LEFT_OUT = {
    *(("get", f"/v1/organizations/{{}}/{what}") for what in ("plans", "invoices", "subscription", "members")),
    *(("get", f"/v1/organizations/{{}}/{what}") for what in ("api-tokens", "audit-logs")),
    ("post", "/v1/organizations/{}/members"),
    *((method, "/v1/organizations/{}/members/{}") for method in ("get", "patch", "delete")),
    ("delete", "/v1/organizations/{}/api-tokens/{}"),
    ("post", "/v1/organizations/{}/groups/{}/transfer"),
    *((method, "/v2/organizations/{}/invites") for method in ("get", "post")),
    ("delete", "/v2/organizations/{}/invites/{}"),
    ("get", "/v1/user"),
}
_METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    folder = os.environ.get("REFERENCE_DIR")
    if not folder:
        pytest.skip("REFERENCE_DIR is not set: there is no description of Turso's to compare with")
    file = Path(folder) / "turso-openapi.json"
    if not file.exists():
        pytest.skip(f"{file} is not there to compare with")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    with running_twin() as running:
        yield running


@pytest.fixture(scope="module")
def ours(twin: Twin) -> dict[str, Any]:
    found: dict[str, Any] = twin.call("GET", "/__schema/openapi.json").json()
    return found


def operations(description: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Operations by method and path, whatever the parameters in the path are called."""
    return {
        (method, re.sub(r"{\w+}", "{}", path)): {**operation, "path": path}
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
        if method in _METHODS
    }


def resolved(description: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The schema behind references and `allOf`, a nullable one without its null."""
    while "$ref" in schema:
        found: Any = description
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = {**found, **({"nullable": True} if schema.get("nullable") else {})}
    for parts in (schema.get("allOf", []), schema.get("oneOf", []), schema.get("anyOf", [])):
        for part in parts:
            inner = resolved(description, part)
            if inner.get("type") == "null":
                continue
            properties = {**schema.get("properties", {}), **inner.get("properties", {})}
            schema = {**inner, **schema, "properties": properties} if properties else {**inner, **schema}
    return schema


def differences(theirs: tuple[dict[str, Any], Any], mine: tuple[dict[str, Any], Any], at: str) -> Iterator[str]:
    """What their schema promises and ours does not. Ours may promise more."""
    their_schema, my_schema = resolved(*theirs), resolved(*mine)
    kinds = my_schema.get("type")
    if "type" in their_schema and their_schema["type"] not in (kinds if isinstance(kinds, list) else [kinds]):
        yield f"{at}: theirs is {their_schema['type']}, ours {kinds}"
    for name, schema in their_schema.get("properties", {}).items():
        if name not in my_schema.get("properties", {}):
            yield f"{at}: ours has no `{name}`"
            continue
        yield from differences((theirs[0], schema), (mine[0], my_schema["properties"][name]), f"{at}.{name}")
    if "items" in their_schema and "items" in my_schema:
        yield from differences((theirs[0], their_schema["items"]), (mine[0], my_schema["items"]), f"{at}[]")


def schema_of(part: dict[str, Any] | None) -> dict[str, Any] | None:
    found = (part or {}).get("content", {}).get("application/json", {}).get("schema")
    return found if isinstance(found, dict) else None


def test_every_operation_is_played_or_named_as_left_out(reference: dict[str, Any], ours: dict[str, Any]) -> None:
    theirs = set(operations(reference))
    assert theirs - set(operations(ours)) == _LEFT_OUT


def test_operations_have_the_same_names_parameters_and_bodies(reference: dict[str, Any], ours: dict[str, Any]) -> None:
    found = []
    mine = operations(ours)
    for key, operation in operations(reference).items():
        if key in _LEFT_OUT:
            continue
        if mine[key]["operationId"] not in {operation["operationId"], f"V1{operation['operationId']}"}:
            found.append(f"{key}: {mine[key]['operationId']} is not {operation['operationId']}")
        wanted = {
            each["name"]
            for each in (resolved(reference, part) for part in operation.get("parameters", []))
            if each["in"] == "query"
        }
        known = {each["name"] for each in mine[key].get("parameters", []) if each["in"] == "query"}
        found += [f"{key}: no parameter `{name}`" for name in wanted - known]
        body, my_body = schema_of(operation.get("requestBody")), schema_of(mine[key].get("requestBody"))
        if body is not None and my_body is not None:
            found += differences((reference, body), (ours, my_body), f"{key} body")
    assert found == []


def test_answers_are_described_alike(reference: dict[str, Any], ours: dict[str, Any]) -> None:
    found: list[str] = []
    mine = operations(ours)
    for key, operation in operations(reference).items():
        schema = schema_of(operation["responses"].get("200"))
        if key in _LEFT_OUT or schema is None:
            continue
        my_schema = schema_of(mine[key]["responses"].get("200"))
        assert my_schema is not None, key
        found += differences((reference, schema), (ours, my_schema), f"{key}")
    assert found == []


def faults_in(description: dict[str, Any], schema: dict[str, Any], value: Any, at: str) -> Iterator[str]:
    """Where a value is not of the schema."""
    schema = resolved(description, schema)
    if value is None:
        if not schema.get("nullable"):
            yield f"{at}: null"
        return
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int}
    kind = kinds.get(schema.get("type", ""))
    if kind is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        yield f"{at}: {value!r} is no {schema['type']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is not one of {schema['enum']}"
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name not in value:
                if not re.search("Present only|Omitted if", inner.get("description", "")):
                    yield f"{at}: no `{name}`"
            else:
                yield from faults_in(description, inner, value[name], f"{at}.{name}")
    if isinstance(value, list) and "items" in schema:
        for each in value:
            yield from faults_in(description, schema["items"], each, f"{at}[]")


_DATABASE = "databases/db-1"
CALLS: list[tuple[str, str, Any, int]] = [
    ("POST", "databases", {"name": "db-1", "group": "default", "size_limit": "500mb"}, 200),
    ("POST", "databases", {"name": "db-1", "group": "default"}, 409),
    ("POST", "databases", {"name": "db-3", "group": "nowhere"}, 400),
    ("POST", "databases", {"name": "db-2", "group": "default", "seed": {"type": "database", "name": "db-1"}}, 200),
    ("GET", "databases", None, 200),
    ("GET", "databases?group=default", None, 200),
    ("GET", _DATABASE, None, 200),
    ("GET", "databases/none", None, 404),
    ("GET", f"{_DATABASE}/configuration", None, 200),
    ("PATCH", f"{_DATABASE}/configuration", {"block_writes": True, "allowed_ips": ["10.0.0.0/8"]}, 200),
    ("GET", f"{_DATABASE}/instances", None, 200),
    ("GET", f"{_DATABASE}/instances/aws-us-east-1", None, 200),
    ("POST", f"{_DATABASE}/auth/tokens?expiration=2w1d30m&authorization=read-only", None, 200),
    ("POST", f"{_DATABASE}/auth/tokens?expiration=soon", None, 400),
    ("POST", "databases/none/auth/tokens", None, 404),
    ("POST", f"{_DATABASE}/auth/rotate", None, 200),
    ("POST", "databases/none/auth/rotate", None, 404),
    ("GET", f"{_DATABASE}/usage", None, 200),
    ("GET", f"{_DATABASE}/usage?from=yesterday", None, 400),
    ("GET", f"{_DATABASE}/stats", None, 200),
    ("POST", "groups", {"name": "other", "location": "aws-eu-west-1"}, 200),
    ("POST", "groups", {"name": "other", "location": "aws-eu-west-1"}, 409),
    ("GET", "groups", None, 200),
    ("GET", "groups/other", None, 200),
    ("GET", "groups/none", None, 404),
    ("PATCH", "groups/other/configuration", {"delete_protection": False}, 200),
    ("GET", "groups/other/configuration", None, 200),
    ("POST", "groups/other/auth/tokens?expiration=never", None, 200),
    ("POST", "groups/other/auth/rotate", None, 200),
    ("POST", "groups/other/unarchive", None, 200),
    ("POST", "groups/other/locations/aws-us-east-1", None, 200),
    ("POST", "groups/other/locations/amss", None, 400),
    ("DELETE", "groups/other", None, 200),
    ("DELETE", "databases/db-2", None, 200),
    ("DELETE", "databases/db-2", None, 404),
    ("GET", "/v1/organizations", None, 200),
    ("GET", f"/v1/organizations/{ORGANIZATION}", None, 200),
    ("GET", "/v1/organizations/strangers", None, 404),
    ("PATCH", f"/v1/organizations/{ORGANIZATION}", {"overages": True}, 200),
    ("GET", "usage", None, 200),
    ("GET", "/v1/locations", None, 200),
    ("GET", "/v1/auth/validate", None, 200),
    ("POST", "/v1/auth/api-tokens/ci", {}, 200),
    ("GET", "/v1/auth/api-tokens", None, 200),
    ("DELETE", "/v1/auth/api-tokens/ci", None, 200),
]


def test_answers_have_the_described_form(reference: dict[str, Any], twin: Twin) -> None:
    known = operations(reference)
    patterns = {key: re.compile(re.sub(r"{}", "[^/]+", key[1])) for key in known}
    found: list[str] = []
    for method, path, body, status in CALLS:
        reply = twin.call(method, path, json=body)
        assert reply.status_code == status, (method, path, reply.text)
        target = reply.request.url.path
        key = min(  # the one with the fewest parameters
            (key for key, pattern in patterns.items() if key[0] == method.lower() and pattern.fullmatch(target)),
            key=lambda key: key[1].count("{}"),
        )
        schema = schema_of(resolved(reference, known[key]["responses"].get(str(status), {})))
        if status >= 400:
            assert set(reply.json()) == {"error"}, reply.text
            assert isinstance(reply.json()["error"], str)
        elif schema is None:
            assert reply.content == b"", (path, reply.text)
        else:
            found += faults_in(reference, schema, reply.json(), f"{method} {path}")
    assert found == []
