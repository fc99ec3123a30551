"""Installs a lock file with pip and says how far it is.

For the Makefile, before anything is installed: pip by itself is either silent for minutes or says very much.

Usage: python scripts/install.py LOCK_FILE [OPTION OF PIP]...

Example: python scripts/install.py requirements.lock
"""

import re
import subprocess
import sys
import time
from pathlib import Path

_PINNED = re.compile(r"^[A-Za-z0-9][\w.-]*(?:\[[\w,.-]+\])?==", re.MULTILINE)
_TAKEN_ON = re.compile(r"^(?:Collecting|Requirement already satisfied:) ")
_LINE_S = 10.0  # without a terminal
_SHOWN_AT_END = 30


def main(lock: str, *more: str) -> int:
    """Run pip and give its exit code; what it said is shown when it fails."""
    total = len(_PINNED.findall(Path(lock).read_text()))
    print(f"   {total} packages; with an empty cache one to five minutes, as quick as the network is", flush=True)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar=off"]
    started = told = time.monotonic()
    said: list[str] = []
    done = 0
    with subprocess.Popen(
        [*command, "--require-hashes", "--no-deps", "-r", lock, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            said.append(line)
            done += _TAKEN_ON.match(line) is not None
            is_last = line.startswith("Installing collected packages")
            if sys.stdout.isatty() or is_last or time.monotonic() - told > _LINE_S:
                told = time.monotonic()
                what = "writing them" if is_last else f"{min(done, total)} of {total}"
                end = "" if sys.stdout.isatty() else "\n"
                print(f"{chr(13) if not end else ''}   {what}, {told - started:.0f} s   ", end=end, flush=True)
    if sys.stdout.isatty():
        print()
    if pip.returncode:
        print("".join(said[-_SHOWN_AT_END:]), file=sys.stderr)
    return pip.returncode


if __name__ == "__main__":
    if len(sys.argv) < 2 or "--help" in sys.argv:
        print(__doc__)
        sys.exit(0 if "--help" in sys.argv else 2)
    sys.exit(main(*sys.argv[1:]))
