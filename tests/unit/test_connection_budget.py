"""Whoever holds most gives way: the rule for sqld's connections and for the streams of local files."""

import random

import pytest

from freehold.providers.connection_budget import ConnectionBudget, Idle
from freehold.providers.failures import Overloaded


def budget_of(limit: int, limit_each: int, *held: str, spares_transactions: bool = False) -> ConnectionBudget:
    budget = ConnectionBudget(
        limit, limit_each, spent_each="yours", spent="all", spares_transactions=spares_transactions
    )
    for name in held:
        budget.add(name)
    return budget


def idle(name: str, until: float, *, in_transaction: bool = False) -> Idle[str]:
    return Idle(name, in_transaction, until, f"{name}{until:g}")


def test_nothing_is_closed_while_there_is_room() -> None:
    budget = budget_of(3, 2, "a", "b")
    assert not budget.is_tight("a")
    assert budget.gives_way("a", [idle("a", 1), idle("b", 2)]) is None


def test_the_count_follows_what_is_taken_and_given_back() -> None:
    budget = budget_of(9, 9, "a", "a", "b")
    budget.remove("a")
    budget.remove("b")
    assert (len(budget), budget.held("a"), budget.held("b")) == (1, 1, 0)


def test_who_has_all_it_may_have_gives_way_to_itself_with_what_is_in_no_transaction() -> None:
    budget = budget_of(9, 3, "a", "a", "a", "b")
    assert budget.is_tight("a")
    assert not budget.is_tight("b")
    found = budget.gives_way("a", [idle("b", 1), idle("a", 2, in_transaction=True), idle("a", 4), idle("a", 3)])
    assert found == idle("a", 3)
    with pytest.raises(Overloaded, match="yours"):
        budget.gives_way("a", [idle("b", 1), idle("a", 2, in_transaction=True)])


def test_whoever_holds_most_gives_way_with_what_is_idle_longest() -> None:
    budget = budget_of(6, 5, "greedy", "greedy", "greedy", "b", "b", "c")
    waiting = [idle("c", 1), idle("b", 2), idle("greedy", 4), idle("greedy", 3)]
    assert budget.gives_way("new", waiting) == idle("greedy", 3)


@pytest.mark.parametrize("taker", ["a", "b", "c"])
def test_nobody_takes_from_those_who_hold_no_more(taker: str) -> None:
    budget = budget_of(3, 3, "a", "b", "c")
    with pytest.raises(Overloaded, match="all"):
        budget.gives_way(taker, [idle(name, 1) for name in "abc" if name != taker])
    assert budget.gives_way(taker, [idle(name, 1) for name in "abc"]) == idle(taker, 1)


def test_transactions_go_last_or_only_where_more_is_held() -> None:
    waiting = [idle("a", 1, in_transaction=True), idle("b", 2)]
    assert budget_of(2, 2, "a", "b").gives_way("new", waiting) == idle("b", 2)
    assert budget_of(2, 2, "a", "b").gives_way("new", waiting[:1]) == waiting[0]
    with pytest.raises(Overloaded):
        budget_of(2, 2, "a", "b", spares_transactions=True).gives_way("new", waiting[:1])
    spares = budget_of(3, 2, "a", "a", "b", spares_transactions=True)
    assert spares.gives_way("new", waiting[:1]) == waiting[0]


@pytest.mark.parametrize("spares", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_taking_never_leaves_a_taker_with_more_than_whom_it_took_from_had(seed: int, *, spares: bool) -> None:
    chance = random.Random(seed)
    budget = budget_of(12, 6, spares_transactions=spares)
    waiting: list[Idle[str]] = []
    for number in range(2000):
        taker = chance.choice("abcdef")
        try:
            victim = budget.gives_way(taker, waiting)
        except Overloaded:
            assert budget.is_tight(taker)
            if waiting:
                budget.remove(waiting.pop(chance.randrange(len(waiting))).database_name)
            continue
        if victim is not None:
            assert budget.is_tight(taker)
            assert victim.database_name == taker or budget.held(victim.database_name) > budget.held(taker)
            waiting.remove(victim)
            budget.remove(victim.database_name)
        budget.add(taker)
        waiting.append(idle(taker, number, in_transaction=chance.random() < 0.5))
        assert len(budget) == len(waiting) <= 12
        assert budget.held(taker) <= 6
