"""The short form of `make campaign`: nothing is lost, doubled or left over, whatever fails and is killed."""

import pytest

from tests.support.campaign import play


@pytest.mark.timeout(600)
def test_after_one_reconcile_nothing_is_left_over_and_nobody_is_without_a_database() -> None:
    report = play(people=24, seed=7, kills=2)
    assert report.is_whole, report
    assert report.signed_up == 24
    assert report.left > 5
    assert report.used > 5
    assert report.kills_of_service + report.kills_of_twin == 2
