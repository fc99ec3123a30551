"""Another revision of the source in a folder of its own, gone at the end whatever happens."""

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from testbed.servers import ROOT, clean_environ


class NoSuchRevision(Exception):
    """The repository does not have it."""


@asynccontextmanager
async def checked_out(revision: str) -> AsyncIterator[Path]:
    """The folder that a temporary worktree of this revision is in.

    Raises:
        NoSuchRevision: there is none, or this is no repository.
    """
    folder = Path(tempfile.mkdtemp(prefix="freehold-bench-"))
    tree = folder / "tree"
    try:
        commit = await asyncio.to_thread(_git, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
        if not commit:
            raise NoSuchRevision(f"there is no revision {revision} here")
        await asyncio.to_thread(_git, "worktree", "add", "--detach", "--quiet", str(tree), commit)
        _require_own_source(tree)
        yield tree
    finally:
        # Not in a thread: a second Ctrl-C must not leave half of it.
        _git("worktree", "remove", "--force", str(tree))
        shutil.rmtree(folder, ignore_errors=True)
        _git("worktree", "prune")


def source_of(tree: Path) -> dict[str, str]:
    """Variables by which `freehold` runs that source, and not what is installed."""
    return {"PYTHONPATH": str(tree / "src"), "PYTHONDONTWRITEBYTECODE": "1"}


def _require_own_source(tree: Path) -> None:
    """Else a revision would be measured beside itself."""
    found = subprocess.run(
        [sys.executable, "-c", "import freehold; print(list(freehold.__path__)[0])"],
        env=clean_environ(**source_of(tree)),
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    if not Path(found.stdout.strip()).is_relative_to(tree):
        raise NoSuchRevision(f"its source does not run here: {found.stderr.strip()[-300:] or found.stdout}")


def _git(*words: str) -> str:
    """What it says; nothing where it refuses."""
    with contextlib.suppress(OSError):
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False, start_new_session=True
        )
        return done.stdout.strip() if done.returncode == 0 else ""
    return ""
