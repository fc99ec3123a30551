"""Reads and checks the bodies of `/api/auth`, with the messages of better-auth's own checks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from urllib.parse import parse_qsl

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIType, Operation, Parameter, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat

from freehold.auth.emails import is_email
from freehold.http.auth.errors import BadField, BadRequest, ProtectedField
from freehold.http.errors import UnsupportedMediaType
from freehold.http.headers import Asked, header

_JSON = "application/json"
_FORM = "application/x-www-form-urlencoded"
_MAX_FORM_FIELDS = 100
_FORM_BOOLEANS = {"true": True, "on": True, "false": False}

_KINDS: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    str: "string",
    int: "number",
    float: "number",
    list: "array",
}

_PROTECTED = ("role", "banned", "banReason", "banExpires", "isAnonymous")


# For no body at all: JavaScript's `undefined`.
ABSENT = msgspec.UNSET


class Field(msgspec.Struct, frozen=True):
    """One member of a body and its type. `nullable` is a string or null; `choices`, if any, are the allowed values."""

    name: str
    kind: Literal["string", "email", "nonempty", "nullable", "boolean", "number", "record"] = "string"
    is_required: bool = True
    choices: tuple[str, ...] = ()

    def fault(self, value: Any) -> str | None:
        """What is wrong with the value, without the field's name."""
        if (value is ABSENT and not self.is_required) or (value is None and self.kind == "nullable"):
            return None
        if self.choices and value not in self.choices:
            return "Invalid option: expected one of " + "|".join(f'"{choice}"' for choice in self.choices)
        wanted = self.kind if self.kind in {"boolean", "number", "record"} else "string"
        found = "record" if wanted == "record" and isinstance(value, dict) else _kind_of(value)
        return self._fault_of_text(value) if found == wanted else f"Invalid input: expected {wanted}, received {found}"

    def _fault_of_text(self, value: Any) -> str | None:
        if self.kind == "email" and not is_email(value):
            return "Invalid email address"
        if self.kind == "nonempty" and not value:
            return "Too small: expected string to have >=1 characters"
        if self.kind == "number" and value < 1:
            return "Too small: expected number to be >=1"
        if self.kind in {"string", "nullable"} and "\0" in value:
            return "Invalid input: a NUL character is not allowed"
        return None


optional = partial(Field, is_required=False)

# Sign-up and sign-in outside better-auth's own routes.
REGISTER_FIELDS = (Field("email", "email"), Field("password", "nonempty"), optional("name"))
LOGIN_FIELDS = (Field("email"), Field("password"))

# Not better-auth's: ending all sessions also revokes all API keys unless this is set.
KEEPS_KEYS = optional("keepApiKeys", "boolean")
# Not better-auth's either: the password that an account gets when its address is verified for the first time.
CHOSEN_PASSWORD = optional("password")


async def read_body(request: Asked, *, takes_forms: bool = False) -> Any:
    """The decoded body; `ABSENT` if there is none or it has no content type.

    Raises:
        FreeholdError: 415 for another media type, 400 for what cannot be decoded.
    """
    body = await request.body()
    declared = header(request.scope, b"content-type")
    if not body or declared is None:
        return ABSENT
    media_type = declared.split(";", 1)[0].strip().lower()
    if media_type == _JSON:
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest("Invalid JSON in request body") from error
    if takes_forms and media_type == _FORM:
        return _from_form(body)
    allowed = f"{_FORM}, {_JSON}" if takes_forms else _JSON
    raise UnsupportedMediaType(f'Content-Type "{declared}" is not allowed. Allowed types: {allowed}')


def check(body: Any, fields: Iterable[Field], *, shapes: Iterable[str] = ("object",)) -> dict[str, Any]:
    """The known fields that are present. `shapes` are the words for the type that a body must have.

    Raises:
        FreeholdError: 400 with every fault.
    """
    if not isinstance(body, dict):
        found = _kind_of(body)
        faults = [f"[body] Invalid input: expected {shape}, received {found}" for shape in shapes]
        raise BadField("; ".join(faults))
    values = {field.name: body[field.name] for field in fields if field.name in body}
    faults = [
        f"[body.{field.name}] {fault}"
        for field in fields
        if (fault := field.fault(values.get(field.name, ABSENT))) is not None
    ]
    if faults:
        raise BadField("; ".join(faults))
    return values


_DESCRIBED = {"boolean": OpenAPIType.BOOLEAN, "number": OpenAPIType.NUMBER, "record": OpenAPIType.OBJECT}


def documented(fields: Sequence[Field], *, is_form: bool = False) -> type[Operation]:
    """Describe a body in the API description; the framework cannot see it, as we read bodies ourselves.

    A route that takes JSON and forms is described with its main type only: generators cannot handle two.
    """
    schema = Schema(
        type=OpenAPIType.OBJECT,
        required=[field.name for field in fields if field.is_required],
        properties={field.name: _described(field) for field in fields},
    )
    content = {_FORM if is_form else _JSON: OpenAPIMediaType(schema=schema)}

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(content=content, required=True)

    return Documented


def documented_query(*fields: Field, headers: Sequence[Field] = ()) -> type[Operation]:
    """The same for parameters in the query and in headers."""

    @dataclass
    class Documented(Operation):
        def __post_init__(self) -> None:
            self.parameters = [
                *(self.parameters or ()),
                *(
                    Parameter(name=field.name, param_in=place, required=field.is_required, schema=_described(field))
                    for place, given in (("query", fields), ("header", headers))
                    for field in given
                ),
            ]

    return Documented


def _described(field: Field) -> Schema:
    text = OpenAPIType.STRING
    return Schema(
        type=[text, OpenAPIType.NULL] if field.kind == "nullable" else _DESCRIBED.get(field.kind, text),
        enum=list(field.choices) or None,
        format=OpenAPIFormat.EMAIL if field.kind == "email" else None,
        min_length=1 if field.kind == "nonempty" else None,
    )


def refuse_protected(body: Mapping[str, Any]) -> None:
    """Raise a refusal if the body sets a field that only operators may set."""
    for name in _PROTECTED:
        if body.get(name):
            raise ProtectedField(f"{name} is not allowed to be set")


def _from_form(body: bytes) -> dict[str, Any]:
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MAX_FORM_FIELDS)
    except ValueError as error:
        raise BadRequest("Invalid form in request body") from error
    values: dict[str, Any] = dict(pairs)
    # Form values are strings; a checked box sends `on`.
    if values.get("rememberMe") in _FORM_BOOLEANS:
        values["rememberMe"] = _FORM_BOOLEANS[values["rememberMe"]]
    return values


def _kind_of(value: Any) -> str:
    return "undefined" if value is ABSENT else _KINDS.get(type(value), "object")
