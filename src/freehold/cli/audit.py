"""`freehold audit`: show who did what, and check that the record is intact."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import IO

import click
import msgspec

from freehold.audit.types import Anchor, Entry, Filter, Verdict, moment
from freehold.cli.context import EXIT_DONE, EXIT_NO, async_command, command_services
from freehold.cli.output import JSON, echo_json, examples, progress

_SHA256 = re.compile(r"[0-9a-f]{64}")


@click.group(epilog=examples("freehold audit list --action user.signed_in --last 20", "freehold audit verify"))
def audit() -> None:
    """Show who did what, and check that the record is intact."""


@audit.command(
    "list",
    epilog=examples(
        "freehold audit list --last 20",
        "freehold audit list --actor user:k3J9x2mPq7 --since 2026-01-31",
        "freehold audit list --json > audit.jsonl",
        "freehold audit list --json --after 120000 >> audit.jsonl",
    ),
)
@click.option("--action", help="Only this action, e.g. user.signed_in.")
@click.option("--actor", help="Only by this actor, e.g. user:ID or operator:LOGIN.")
@click.option("--target", help="Only what was done to this, e.g. tenant:ID.")
@click.option("--since", help="Not before this UTC timestamp: 2026-01-31 or 2026-01-31T10:20:30Z.")
@click.option("--until", help="Before this UTC timestamp.")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="SEQ", help="Continue after this entry.")
@click.option("--limit", type=click.IntRange(min=1), help="At most this many; all by default.")
@click.option("--last", type=click.IntRange(1, 10_000), help="Only this many of the newest entries.")
@JSON
@async_command
async def list_(
    *,
    action: str | None,
    actor: str | None,
    target: str | None,
    since: str | None,
    until: str | None,
    after: int,
    limit: int | None,
    last: int | None,
    as_json: bool,
) -> None:
    """List entries, oldest first. They are read and printed page by page, however many there are."""
    if last is not None and (after or limit):
        raise click.UsageError("--last goes with neither --after nor --limit")
    matching = Filter(action=action, actor=actor, target=target, since=moment(since), until=moment(until))
    show = (lambda entry: echo_json(entry.shown())) if as_json else _print_line
    async with command_services() as services:
        if last is not None:
            for entry in reversed(await services.audit.newest(limit=last, matching=matching)):
                show(entry)
            return
        async for entry in services.audit.each(after=after, limit=limit, matching=matching):
            show(entry)


@audit.command(
    epilog=examples(
        "freehold audit verify",
        "freehold audit verify --anchor 120000:9f86d081884c7d65…",
        "journalctl -u freehold -o cat | freehold audit verify --anchors -",
        "freehold audit verify --after 120000 --json",
    )
)
@click.option("--anchor", "noted", multiple=True, metavar="SEQ:HASH", help="An entry's hash, noted earlier.")
@click.option(
    "--anchors",
    "log",
    type=click.File(encoding="utf-8", errors="replace"),
    help="A log of the service: its lines `audit.anchored` are used; `-` reads stdin.",
)
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="SEQ", help="Trust this entry, check the rest.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@async_command
async def verify(noted: Sequence[str], log: IO[str] | None, after: int, as_json: bool) -> int:
    """Check that no entry was changed, removed or inserted, and name the first that was.

    Exit code 1 if the trail is broken. Anyone who has the database and the service's secret can rewrite it from any
    point; only an anchor kept elsewhere reveals that. The service writes one to its log every ten minutes.
    """
    anchors = [*map(_anchor, noted), *(_anchors(log) if log else ())]
    async with command_services() as services:
        total = (await services.audit.head()).seq - after
        with progress("checking", total, is_wanted=not as_json and total >= 10_000) as bar:
            verdict = await services.audit.verify(anchors, after=after, on_page=bar.advance)
    if as_json:
        echo_json({**msgspec.structs.asdict(verdict), "head": str(verdict.head), "whole": verdict.is_whole})
    else:
        _print_verdict(verdict, after, len(anchors))
    return EXIT_DONE if verdict.is_whole else EXIT_NO


def _print_verdict(verdict: Verdict, after: int, anchors: int) -> None:
    if not verdict.is_whole:
        click.echo(f"entry {verdict.broken_at} is the first that is wrong: {verdict.reason}", err=True)
        if verdict.entries:
            click.echo(f"entries {after + 1} to {verdict.head.seq} are as they were written", err=True)
        return
    held = f", and {anchors} anchors fit" if anchors else ""
    click.echo(f"{verdict.entries} entries are as they were written{held}; the newest is", err=True)
    click.echo(str(verdict.head))


def _anchor(text: str) -> Anchor:
    seq, _, found = text.partition(":")
    if not seq.isdecimal() or not _SHA256.fullmatch(found):
        raise click.BadParameter(f"`{text}` is not SEQ:HASH", param_hint="--anchor")
    return Anchor(int(seq), found)


def _anchors(log: IO[str]) -> Iterator[Anchor]:
    for line in log:
        if "audit.anchored" not in line:
            continue
        try:
            noted = json.loads(line[line.index("{") :])
            if noted["event"] == "audit.anchored" and noted["seq"]:
                yield _anchor(f"{noted['seq']}:{noted['hash']}")
        except (ValueError, KeyError, TypeError):
            continue


def _print_line(entry: Entry) -> None:
    shown = entry.shown()
    words = [str(entry.seq), shown["at"], shown["action"], f"by {shown['actor']}"]
    if entry.target:
        words.append(f"on {shown['target']}")
    if entry.ip_address:
        words.append(f"from {shown['ip_address']}")
    words += [f"{name}={value}" for name, value in shown["details"].items()]
    line = "  ".join(words)
    click.echo(line if line.isprintable() else line.encode("unicode_escape").decode())
