"""Every example in a help text is printed as it was written: one that is reflowed cannot be pasted."""

import pytest
from click.testing import CliRunner

from freehold.cli.main import cli
from tests.support.commands import COMMANDS


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_examples_are_printed_line_by_line(words: tuple[str, ...]) -> None:
    epilog = COMMANDS[words].epilog or ""
    shown = CliRunner().invoke(cli, [*words[1:], "--help"], prog_name="freehold").stdout
    lines = {line.strip() for line in shown.splitlines()}
    if "\b" not in epilog:
        assert len(epilog.splitlines()) <= 1, "several lines need \\b before them"
        assert " ".join(epilog.split()) in " ".join(shown.split())
        return
    for line in epilog.replace("\b", "").splitlines():
        assert line.strip() in lines or not line.strip(), line
