"""The short form of `make hostile`: twenty hostile people do all they can at once, and nobody else notices.

How much slower everybody else is meanwhile, `python -m bench hostile` measures; here bounds only tell somebody who
waits from somebody who is kept out.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from testbed.hostile.bystanders import KINDS
from testbed.hostile.campaign import Turns, play
from testbed.hostile.report import Report, told

SEED = 7
SECONDS = 12.0
WHERE = ("files", "sqld")

Playing = Mapping[str, Future[Report]]


@pytest.fixture(scope="module")
def playing(request: pytest.FixtureRequest) -> Iterator[Playing]:
    """The campaigns that tests were chosen for. They prepare beside each other, which leaves a core idle by itself."""
    names = {item.name for item in request.session.items}
    chosen = [kind for kind in WHERE if any(name.endswith(f"[{kind}]") for name in names)]
    turns = Turns(len(chosen))
    with ThreadPoolExecutor(len(chosen)) as pool:
        yield {
            kind: pool.submit(play, kind, seconds=SECONDS, seed=SEED, profile="full", turns=turns) for kind in chosen
        }


# Twenty hostile people need the machine for themselves: `make test` runs this by itself, after all others.
@pytest.mark.hostile
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", WHERE)
def test_bystanders_read_write_sign_in_and_sign_up_while_hostile_people_do_all_they_can(
    kind: str, playing: Playing
) -> None:
    report = playing[kind].result()
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
