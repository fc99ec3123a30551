#!/usr/bin/env python3
"""Plays a client app against the running service and prints each step: `make demo`."""

import asyncio
import io
import os
import secrets
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import click
import httpx
from dotenv import dotenv_values

from freehold.client import DatabaseCredentials, FreeholdClient
from freehold.client.calls import service_url
from freehold.errors import FreeholdError, InvalidInput, Unauthenticated, Unavailable
from freehold.libsql.client import Client, LibsqlError, Statement, Unreachable, create_client
from freehold.settings.fields import BadSettings, Settings
from freehold.settings.load import load_settings

EXIT_NO, EXIT_SETTINGS, EXIT_UNREACHABLE = 1, 3, 4
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # listens there, is called here
WORDS = [("book", "كتاب", "كتب", "noun"), ("pen", "قلم", "قلم", "noun"), ("to write", "كَتَبَ", "كتب", "verb")]
TABLE = "dictionary_entries"
NEW_WORD = (
    "INSERT INTO dictionary_entries (id, word, translation, root, type, created_at, updated_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
NEW_CARDS = (
    "INSERT INTO flashcards (id, dictionary_entry_id, direction, due, created_at, updated_at)"
    " SELECT ? || '-' || direction, ?, direction, ?, ?, ?"
    " FROM (SELECT 'forward' AS direction UNION ALL SELECT 'reverse')"
)
DUE_WORDS = (
    "SELECT word, translation, type, count(*) AS cards FROM dictionary_entries"
    " JOIN flashcards ON dictionary_entry_id = dictionary_entries.id WHERE due <= ? AND NOT is_hidden"
    " GROUP BY dictionary_entries.id ORDER BY dictionary_entries.rowid"
)

T = TypeVar("T")


class Wrong(FreeholdError):
    """The service did something that it promises not to do."""

    code = "demo_failed"


class Screen:
    """What is read: numbered steps, in each the calls with answer and time, then what they gave."""

    def __init__(self) -> None:
        self._steps = 0

    def step(self, title: str) -> None:
        self._steps += 1
        click.echo(f"\n{click.style(f'{self._steps:2}  {title}', bold=True)}")

    def call(self, sent: str, answer: str, started: float, note: str = "") -> None:
        duration_ms = (time.perf_counter() - started) * 1000
        line = f"    {short(sent, 58):<58}  {answer:>7}  {duration_ms:6.1f} ms"
        click.echo(click.style(f"{line}  {note}".rstrip(), dim=True))

    def fact(self, label: str, text: str) -> None:
        click.echo(f"    {label:<10}{text}")

    async def query(self, what: str, running: Awaitable[T]) -> T:
        """Wait for something asked of a database, and show it as a call."""
        started = time.perf_counter()
        try:
            result = await running
        except LibsqlError as error:
            self.call(what, "refused" if not isinstance(error, Unreachable) else "lost", started)
            raise
        self.call(what, "ok", started)
        return result

    def http(self) -> httpx.AsyncClient:
        """A client that shows each of its calls."""

        async def sent(request: httpx.Request) -> None:
            request.extensions["started"] = time.perf_counter()

        async def answered(reply: httpx.Response) -> None:
            started = reply.request.extensions["started"]
            is_pending = reply.status_code == httpx.codes.ACCEPTED
            note = f"not there yet, again in {reply.headers.get('Retry-After')} s" if is_pending else ""
            target = reply.request.url.raw_path.decode()
            self.call(f"{reply.request.method:<4} {target}", str(reply.status_code), started, note)

        return httpx.AsyncClient(timeout=10, event_hooks={"request": [sent], "response": [answered]})


async def play(url: str, screen: Screen) -> None:
    """The whole story, from signing up to signing out."""
    started = time.perf_counter()
    click.echo(f"A client app against Freehold at {url}")
    async with (
        screen.http() as http,
        screen.http() as other_http,
        FreeholdClient(url, http) as amal,
        FreeholdClient(url, other_http) as basil,
    ):
        await sign_up(screen, amal, "Amal")
        credentials = await ask_for_database(screen, amal)
        await pull_and_verify(screen, amal)
        await bring_up(screen, amal)
        async with create_client(credentials.url, auth_token=credentials.access_token) as db:
            await write_words(screen, db)
            await read_words(screen, db)
        await knock(screen, basil, credentials)
        await sign_out(screen, amal, url)
    click.echo(f"\nAll of it took {time.perf_counter() - started:.1f} s. The same in your language: docs/clients.md")


async def sign_up(screen: Screen, freehold: FreeholdClient, name: str) -> None:
    screen.step(f"{name} signs up")
    email = f"{name.lower()}-{secrets.token_hex(4)}@example.com"
    user = await freehold.sign_up(email, secrets.token_urlsafe(12), name)
    screen.fact("user", f"{user.email}, id {short(user.id, 8)}")
    screen.fact("session", f"token {short(freehold.session_token or '', 6)}")


async def ask_for_database(screen: Screen, freehold: FreeholdClient) -> DatabaseCredentials:
    screen.step("Asks for the database that was made meanwhile")
    credentials = await freehold.credentials()
    screen.fact("url", credentials.url)
    screen.fact(
        "token",
        f"{short(credentials.access_token, 6)}, profile {credentials.profile}, for this database only,"
        f" until {credentials.expires_at[11:19]} UTC",
    )
    return credentials


async def pull_and_verify(screen: Screen, freehold: FreeholdClient) -> None:
    screen.step("Pulls the schema registry and verifies it")
    registry = await freehold.pull()
    screen.fact("registry", f"version {registry.version}, signed with Ed25519 key {registry.key_id}")
    screen.fact("chain", f"{short(registry.chain, 12)} names the whole history")
    screen.fact("verified", f"{len(registry.migrations)} checksums, their chain and its signature")
    if not any(f"CREATE TABLE {TABLE}" in migration.sql for migration in registry.migrations):
        raise Wrong(
            f"this service serves another app's schema: there is no table `{TABLE}`, so this demo ends here;"
            " docs/clients.md has the same steps for an app of your own"
        )


async def bring_up(screen: Screen, freehold: FreeholdClient) -> None:
    screen.step("Brings the database to the newest schema")
    done = await freehold.migrate()
    if done.applied:
        screen.fact("applied", ", ".join(map(str, done.applied)))
    screen.fact("schema", f"version {done.version}" + ("" if done.applied else ": it was there already"))


async def write_words(screen: Screen, db: Client) -> None:
    screen.step("Writes words, and two flashcards for each")
    now_ms = time.time_ns() // 1_000_000
    statements: list[Statement] = []
    for translation, word, root, kind in WORDS:
        entry_id = secrets.token_hex(8)
        statements += [
            Statement(NEW_WORD, [entry_id, word, translation, root, kind, now_ms, now_ms]),
            Statement(NEW_CARDS, [entry_id, entry_id, now_ms, now_ms, now_ms]),
        ]
    results = await screen.query(f"batch of {len(statements)} INSERT, one transaction", db.batch(statements))
    screen.fact("written", f"{sum(result.rows_affected for result in results)} rows")


async def read_words(screen: Screen, db: Client) -> None:
    screen.step("Reads back what is due")
    now_ms = time.time_ns() // 1_000_000
    due = await screen.query("SELECT ... FROM dictionary_entries JOIN flashcards ...", db.execute(DUE_WORDS, [now_ms]))
    found = [tuple(map(str, row)) for row in due]
    for word, translation, kind, cards in found:
        # Arabic last on its line, where text that runs to the left moves nothing else.
        screen.fact(translation, f"{kind}, {cards} cards   {word}")
    if [word for word, *_ in found] != [word for _, word, _, _ in WORDS]:
        raise Wrong("what was read is not what was written")


async def knock(screen: Screen, freehold: FreeholdClient, theirs: DatabaseCredentials) -> None:
    await sign_up(screen, freehold, "Basil")
    own = await freehold.credentials()
    screen.step("Basil tries Amal's database with his own token, then with none")
    for token in (own.access_token, None):
        async with create_client(theirs.url, auth_token=token) as db:
            try:
                await screen.query("SELECT * FROM dictionary_entries", db.execute("SELECT * FROM dictionary_entries"))
            except Unreachable:
                raise
            except LibsqlError as error:
                screen.fact("refused", error.explanation)
            else:
                raise Wrong("a stranger read the database")


async def sign_out(screen: Screen, freehold: FreeholdClient, url: str) -> None:
    screen.step("Amal signs out; the session's token is worth nothing now")
    token = freehold.session_token
    await freehold.sign_out()
    async with screen.http() as http, FreeholdClient(url, http, session_token=token) as late:
        try:
            await late.credentials()
        except Unauthenticated as error:
            screen.fact("refused", str(error))
        else:
            raise Wrong("the session is still good")


async def require_running(url: str) -> None:
    """Raises `Unavailable` unless a Freehold service answers here."""
    try:
        async with httpx.AsyncClient(timeout=5) as http:
            health = (await http.get(f"{url}/health")).json()
    except httpx.TransportError as error:
        raise Unavailable(f"nothing answers at {url}: start the service with `make run`, then try again") from error
    except (httpx.HTTPError, ValueError) as error:
        raise Unavailable(f"what answers at {url} is not Freehold; say where it is with --url") from error
    if not isinstance(health, dict) or health.get("status") != "ok":
        raise Unavailable(f"what answers at {url} is not Freehold; say where it is with --url")


def default_url() -> str:
    """Where `make run` listens with the same environment and `.env`."""
    dotenv = {name: value for name, value in dotenv_values(Path(".env")).items() if value}
    settings: Settings = load_settings({**dotenv, **os.environ})
    host = EVERYWHERE.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}..."


@click.command(
    epilog="""\b
Examples:
  python scripts/demo.py
  python scripts/demo.py --url http://127.0.0.1:9000"""
)
@click.option("--url", help="Where the service is; as HOST and PORT say when left out.")
def main(url: str | None) -> None:
    """Play a client app against the running service, and print each step.

    It makes two users with random addresses. Exit codes: 0 done, 1 a promise was broken, 2 wrong use,
    3 bad settings, 4 nothing answers.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # for a terminal that has no Arabic
    try:
        url = service_url(url or default_url())
    except InvalidInput as error:
        raise click.BadParameter(str(error), param_hint="--url") from error
    except BadSettings as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_SETTINGS)
    try:
        asyncio.run(require_running(url))
        asyncio.run(play(url, Screen()))
    except (FreeholdError, LibsqlError) as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_UNREACHABLE if isinstance(error, Unavailable | Unreachable) else EXIT_NO)


if __name__ == "__main__":
    main()
