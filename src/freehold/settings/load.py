"""All configuration, read once from the environment. Nothing else touches `os.environ`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from freehold.limiting import Rate, parse_rate
from freehold.settings.checks import check
from freehold.settings.fields import BadSettings, Secret, Settings


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from variables; an empty value counts as unset.

    Raises:
        BadSettings: with one line for every variable that is missing or wrong.
    """
    hints = get_type_hints(Settings, include_extras=True)
    values: dict[str, Any] = {}
    faults: list[str] = []
    for field in msgspec.structs.fields(Settings):
        name = field.name.upper()
        text = environ.get(name, "").strip()
        if not text:
            continue
        try:
            values[field.name] = _convert(text, hints[field.name])
        except ValueError as error:
            faults.append(f"{name}: {_explain(error, text, secret=get_args(hints[field.name])[0] is Secret)}")
    settings = Settings(**values)  # settings that cannot be read have their defaults, which are valid
    faults += check(settings)
    if faults:
        raise BadSettings(faults)
    return settings


def one_of(choices: Sequence[str]) -> str:
    """The choices as `a`, `b` or `c`, for error messages."""
    named = [f"`{choice}`" for choice in choices]
    return " or ".join([", ".join(named[:-1]), named[-1]]) if len(named) > 1 else "".join(named)


def variables() -> dict[str, str]:
    """Name and meaning of every variable, in order; `.env.example` lists exactly these."""
    found: dict[str, str] = {}
    for name, hint in get_type_hints(Settings, include_extras=True).items():
        meta = next(extra for extra in hint.__metadata__ if isinstance(extra, Meta))
        found[name.upper()] = meta.description or ""
    return found


def _convert(text: str, hint: Any) -> Any:
    kind, *extras = get_args(hint)
    for extra in extras:  # values that settings for an earlier version may have
        text = ((extra.extra or {}).get("earlier") or {}).get(text, text)
    if kind is Secret:
        return Secret(text)
    if kind is Rate:
        return parse_rate(text)
    if kind is Path or kind == Path | None:
        return Path(text).expanduser()
    if get_origin(kind) is tuple:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if get_origin(kind) is Literal and text not in get_args(kind):
        raise ValueError(f"expected {one_of(get_args(kind))}")
    return msgspec.convert(text, hint, strict=False)


def _explain(error: ValueError, text: str, *, secret: bool) -> str:
    reason = str(error).split(", got ")[0].removesuffix(f" {text!r}")
    reason = reason[0].lower() + reason[1:]
    return reason if secret else f"{reason}, got `{text}`"
