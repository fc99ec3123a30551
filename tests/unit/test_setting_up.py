"""`scripts/install.py`: a set-up says how many packages there are, how far it is, and what went wrong."""

import subprocess
import sys
from pathlib import Path

from testbed.servers import ROOT, clean_environ

_PIP = """
import sys
assert sys.argv[1:3] == ["--disable-pip-version-check", "install"], sys.argv
for name in ("a", "b"):
    print("Collecting", name)
    print("  Downloading", name)
print("Requirement already satisfied: c")
if "broken.lock" in sys.argv[-1]:
    print("ERROR: the hashes of b do not match")
    sys.exit(1)
print("Installing collected packages: a, b")
"""


def install(folder: Path, lock: str) -> subprocess.CompletedProcess[str]:
    (folder / "pip").mkdir()
    (folder / "pip/__init__.py").touch()
    (folder / "pip/__main__.py").write_text(_PIP)
    (folder / lock).write_text("a==1 \\\n    --hash=sha256:0\nb[x]==2\n# c==3\nc==3 ; python_version > '3'\n")
    return subprocess.run(
        [sys.executable, ROOT / "scripts/install.py", lock],
        cwd=folder, env=clean_environ(PYTHONPATH=str(folder)), capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_it_announces_how_much_there_is_and_shows_how_far_it_is(tmp_path: Path) -> None:
    done = install(tmp_path, "some.lock")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 packages; with an empty cache one to five minutes" in done.stdout
    assert "writing them" in done.stdout


def test_what_pip_says_is_shown_when_it_fails(tmp_path: Path) -> None:
    failed = install(tmp_path, "broken.lock")
    assert failed.returncode == 1
    assert "the hashes of b do not match" in failed.stderr


def test_the_makefile_promises_no_half_minute_and_installs_nothing_in_silence() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "half a minute" not in makefile
    assert "scripts/install.py" in makefile
    assert "requirements.lock" in makefile
