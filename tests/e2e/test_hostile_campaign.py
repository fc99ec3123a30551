"""The short form of `make hostile`: twenty hostile people do all they can at once, and nobody else notices.

How much slower everybody else is meanwhile, `python -m bench hostile` measures; here bounds only tell somebody who
waits from somebody who is kept out.
"""

import json

import pytest
from testbed.hostile.bystanders import KINDS
from testbed.hostile.campaign import play
from testbed.hostile.report import told

SEED = 7
SECONDS = 12.0


# Twenty hostile people need the machine for themselves: `make test` runs this by itself, after all others.
@pytest.mark.hostile
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["files", "sqld"])
def test_bystanders_read_write_sign_in_and_sign_up_while_hostile_people_do_all_they_can(kind: str) -> None:
    report = play(kind, seconds=SECONDS, seed=SEED, profile="full")
    seen = json.dumps(told(report), indent=1, default=str)
    assert report.untried == [], seen
    assert report.successes == [], seen
    assert report.faults == [], seen
    assert {each.what for each in report.done if not each.fault} == KINDS, seen
    assert report.left == [], seen
    if kind == "sqld":
        # It died when it was killed here; other ends are its supervisor's doing, and it was back each time.
        assert report.killed == 1, seen
        assert report.ends.count("signal 9") == 1, seen
        assert [each for each in report.ends if each.startswith(("signal", "exit")) and each != "signal 9"] == [], seen
        assert report.restarted == len(report.ends), seen
