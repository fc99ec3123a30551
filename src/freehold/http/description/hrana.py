"""The gateway's part of the API description: Hrana over HTTP, as `libsql.protocol` has it."""

import copy
from typing import Any

import msgspec

from freehold.http.description.refusals import Described, references
from freehold.libsql import protocol

_PREFIX = "Hrana"
_NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "The database's name; clients take its URL as it is in `GET /databases/user`.",
    "schema": {"type": "string", "pattern": "^[a-z0-9-]{1,63}$"},
}
_REFUSED = (400, 401, 403, 404, 408, 410, 413, 429, 503)
_NDJSON = (
    "JSON, one document a line: a `HranaCursorResp`, then a `HranaStepBeginEntry`, `HranaRowEntry`, "
    "`HranaStepEndEntry` or `HranaStepErrorEntry` for each thing that happens"
)
_CALLS: tuple[tuple[str, str, type, type | None, str], ...] = (
    ("v3/pipeline", "pipeline_v3", protocol.PipelineReq, protocol.PipelineResp,
     "Run requests in order on one stream. A `baton` in the answer continues the stream in the next call; requests "
     "that fail are in `results`, and the call is 200 all the same."),
    ("v2/pipeline", "pipeline_v2", protocol.PipelineReq, protocol.PipelineResp,
     "The same in version 2 of the protocol, which has neither `get_autocommit` nor `is_autocommit`."),
    ("v3/cursor", "cursor_v3", protocol.CursorReq, None,
     "Run a batch and send its rows as they come, one JSON document a line."),
    ("v1/execute", "execute_v1", protocol.ExecuteV1Req, protocol.ExecuteV1Resp,
     "Run one statement on a stream of its own, as clients of version 1 do. A statement that fails is a 400."),
    ("v1/batch", "batch_v1", protocol.BatchV1Req, protocol.BatchV1Resp,
     "Run a batch on a stream of its own, as clients of version 1 do."),
)  # fmt: skip


def hrana_paths() -> Described:
    """The paths of one database."""
    found: Described = {}
    for endpoint, operation_id, request, response, words in _CALLS:
        found[f"/db/{{name}}/{endpoint}"] = {
            "parameters": [_NAME],
            "post": {
                "operationId": operation_id,
                "summary": endpoint,
                "description": words,
                "tags": ["database"],
                "security": [{"databaseToken": []}],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": _ref(request.__name__)}}},
                },
                "responses": {
                    "200": {
                        "description": "What came of it." if response else f"{_NDJSON}.",
                        **_content(response),
                    },
                    **references("database", _REFUSED),
                },
            },
        }
    for version in ("v2", "v3"):
        found[f"/db/{{name}}/{version}"] = {
            "parameters": [_NAME],
            "get": {
                "operationId": f"probe_{version}",
                "summary": f"Probe {version}",
                "description": "Whether this version of the protocol is served, as clients ask before they begin.",
                "tags": ["database"],
                "responses": {"200": {"description": "It is."}, **references("database", (429,))},
            },
        }
    return found


def hrana_schemas() -> Described:
    """All structs of the protocol, under names of their own: its words, such as `Error`, are others' too."""
    kinds = [
        *(kind for _, _, request, response, _ in _CALLS for kind in (request, response) if kind),
        protocol.CursorResp,
        protocol.CursorEntry,
    ]
    _, found = msgspec.json.schema_components(kinds, ref_template=_ref("{name}"))
    return {f"{_PREFIX}{name}": _plain(name, schema) for name, schema in found.items()}


def _content(response: type | None) -> Described:
    if response is None:
        return {"content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"content": {"application/json": {"schema": {"$ref": _ref(response.__name__)}}}}


def _ref(name: str) -> str:
    return f"#/components/schemas/{_PREFIX}{name}"


def _plain(name: str, schema: dict[str, Any]) -> Described:
    """Titled by its own name; a tag is a text that is always the same."""
    plain = copy.deepcopy(schema)
    plain["title"] = f"{_PREFIX}{name}"
    for member in plain.get("properties", {}).values():
        member.pop("default", None)  # servers differ in what they leave out, and so do clients
        if list(member) == ["enum"] and len(member["enum"]) == 1:
            member.update(const=member.pop("enum")[0], type="string")
    return plain
