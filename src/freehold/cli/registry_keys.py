"""`freehold registry sign` and `keys`: sign a release offline, and manage the keys that may publish."""

import asyncio
import time
from pathlib import Path

import click
import msgspec

from freehold.cli.context import async_command, command_services, registry_folder
from freehold.cli.output import JSON, echo_json, examples, tell
from freehold.cli.registry_check import FOLDER, load_migrations
from freehold.keys import load_key, load_or_create_key, replace_key
from freehold.registry import signed
from freehold.registry.folder_config import load_parts
from freehold.registry.types import BadRegistry, SignedElsewhere

_KEY_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    epilog=examples(
        "freehold registry sign --key-file registry.pem > release.json",
        "freehold registry sign schema_registry/bahar --key-file registry.pem --days 7 > release.json",
        "freehold registry sign --key-file registry.pem --form 2 > release.json",
    )
)
@FOLDER
@click.option("--key-file", type=_KEY_FILE, required=True, help="Ed25519 private key (PEM) that signs.")
@click.option(
    "--days",
    type=click.IntRange(min=1, max=3650),
    default=signed.LIFETIME_DAYS,
    help="Days until the signature expires.",
)
@click.option(
    "--form",
    type=click.Choice(["2", "3"]),
    default="3",
    help="Format of the release; 2 for a service that does not support parts yet, 3 by default.",
)
@async_command
async def sign(folder: Path | None, key_file: Path, days: int, form: str) -> None:
    """Sign a folder's migrations and parts without contacting any server, and print the signed release.

    For a key that never leaves CI: `freehold registry publish --signed release.json` needs no key. Sign and publish
    again before the signature expires, even if nothing has changed: clients refuse an expired registry.

    Parts are the files that `[[part]]` in registry.toml names; apps can verify them like the migrations.
    """
    folder = registry_folder(folder)
    migrations, parts = await load_migrations(folder), await load_parts(folder)
    if form == "2" and parts:
        raise click.UsageError("--form 2 has no room for the parts that registry.toml names; take them out")
    signer = signed.signer_of(await asyncio.to_thread(load_key, key_file))
    now_ms = int(time.time() * 1000)
    # The counter contains the time, so that of two releases the one signed later wins.
    release = await asyncio.to_thread(
        signed.sign_release,
        migrations,
        signer,
        counter=now_ms if form == "2" else signed.next_counter(now_ms, None),
        expires_at_s=signed.expiry_s(now_ms, days),
        parts=signed.listed(parts),
    )
    echo_json(release)


def read_release(path: Path) -> signed.SignedRelease:
    """Read what `sign` printed. Blocking. Raises `BadRegistry`."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=signed.SignedRelease)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRegistry([f"{path}: is not the output of `freehold registry sign`"]) from error


@click.group(epilog=examples("freehold registry keys list", "freehold registry keys rotate"))
def keys() -> None:
    """Manage the keys that sign the registry: list them, rotate them, allow CI's key to publish."""


@keys.command(
    "list", epilog=examples("freehold registry keys list", "freehold registry keys list --json | jq -r .public_key")
)
@JSON
@async_command
async def list_(as_json: bool) -> None:
    """Show every key: which one signs now, and which were retired."""
    async with command_services() as services:
        snapshot = await services.registry.snapshot()
    signing = snapshot.manifest.key_id if snapshot.manifest else ""
    for key in snapshot.keys:
        state = "retired" if key.key_id in snapshot.retired else "signs" if key.key_id == signing else "known"
        tell(
            f"{key.key_id}  {state:<7}  {key.public_key}  {key.created_at}",
            {**msgspec.structs.asdict(key), "state": state},
            as_json=as_json,
        )


@keys.command(epilog="\b\nExample: freehold registry keys add 0nTqK8Zc2Y0c5f5c1m9m0m8Xo2Z8s4b5Hq3n6c7w8x0")
@click.argument("public_key")
@JSON
@async_command
async def add(public_key: str, as_json: bool) -> None:
    """Let another key publish here, such as one that only CI has. Safe to run twice.

    If this service has its own key, it endorses the new one, so that clients follow automatically. PUBLIC_KEY is
    unpadded base64url, as `freehold registry sign` prints it.
    """
    async with command_services() as services:
        key = await services.registry.add_key(public_key)
    tell(f"added {key.key_id}", key, as_json=as_json)


@keys.command(
    "rotate",
    epilog=examples(
        "freehold registry keys rotate",
        "REGISTRY_SIGNING_KEY_FILE=/etc/freehold/registry.pem freehold registry keys rotate",
    ),
)
@JSON
@async_command
async def rotate(as_json: bool) -> None:
    """Replace the signing key with a new one, and sign with it from now on. Safe to run again after a crash.

    The old key endorses the new one and is retired by it: clients that trusted the old one follow at their next pull
    and forget it. The old file stays next to the new one. Restart running services afterwards.
    """
    async with command_services() as services:
        if services.registry.signer is None:
            raise SignedElsewhere("the key is not on this machine (REGISTRY_SIGNING=external); rotate it where it is")
        settings = services.settings
        path = settings.registry_signing_key_file or settings.data_dir / "keys" / "registry.pem"
        successor_path = path.with_name(f"{path.stem}.next{path.suffix}")
        successor = signed.signer_of(await asyncio.to_thread(load_or_create_key, successor_path))
        await services.registry.rotate(successor)
        await asyncio.to_thread(replace_key, path, successor_path)
    if as_json:
        echo_json({"key_id": successor.key_id, "public_key": successor.public_key, "file": str(path)})
    else:
        click.echo(f"{successor.key_id} signs from now on; start running services again", err=True)
