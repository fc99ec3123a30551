"""`make figures`: counts of a small source whose figures are known."""

import subprocess
import sys
from pathlib import Path

import pytest
from scripts.figures import figures, import_cycles, read
from testbed.servers import ROOT

_FILES = {
    "src/freehold/__init__.py": "",
    "src/freehold/wiring/app.py": (
        "from freehold import clock\nfrom freehold.auth.users import User\nimport freehold.left\n"
    ),
    "src/freehold/auth/__init__.py": "from freehold.auth.users import User\n",
    "src/freehold/auth/users.py": "def user():\n    from freehold.clock import now\n\n    return now\n",
    "src/freehold/clock.py": "now = 1\n",
    "src/freehold/left.py": "import freehold.right\n",
    "src/freehold/right.py": "from freehold.left import x\n",
    "tests/test_one.py": "assert True\n",
    "tests/e2e/node_modules/other.py": "no = 1\n",
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in _FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_files_lines_and_imports_are_counted(checkout: Path) -> None:
    found = dict(figures(read(checkout)))
    assert found["files in src"] == "6"  # an empty one is none
    assert found["lines in src"] == "11"
    assert found["longest function"] == "4 lines (auth.users.user)"
    assert found["modules imported by the largest wiring file"] == "3"
    assert found["files imported by exactly one other"] == "1"  # right; left has two, as have users and clock
    assert found["files in tests"] == "1"
    assert found["circles of imports"] == "1"


def test_a_circle_is_found_once_with_all_that_is_in_it(checkout: Path) -> None:
    assert import_cycles(read(checkout).imports) == [{"freehold.left", "freehold.right"}]
    assert import_cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [{"a", "b", "c"}]


def test_two_checkouts_stand_side_by_side(checkout: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/figures.py", str(checkout), "."],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    head, first, *_ = done.stdout.splitlines()
    assert head.split() == [str(checkout), "this", "checkout"]
    assert first.split()[:4] == ["files", "in", "src", "6"]


def test_a_folder_without_freehold_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="no src/freehold"):
        read(tmp_path)
