"""Why tenants were not migrated: a group for each cause, whatever their messages name of the tenants' own."""

import random
import string
import tracemalloc

from freehold.rollouts.causes import OTHER, Causes
from freehold.tenants.names import new_database_name

_TAIL = "; the database is still at version 1: correct it and apply it again"


def grouped(*errors: str, limit: int = 50) -> list[tuple[int, str]]:
    causes = Causes()
    for number, error in enumerate(errors):
        causes.add("migration_failed", error, f"t{number}")
    return [(each.tenants, each.error) for each in causes.most_first(limit)]


def test_three_causes_of_one_code_are_three_groups_with_their_tenants() -> None:
    causes = Causes()
    errors = {
        "unique": f"migration 2 (codes), statement 2, line 6: UNIQUE constraint failed: item.code{_TAIL}",
        "orphan": f"migration 2 (codes): rows would be left (1 in part without a parent in item){_TAIL}",
        "ahead": f"migration 3 (size), statement 1, line 2: duplicate column name: size{_TAIL}",
    }
    for name, error in errors.items():
        causes.add("migration_failed", error, name)
    causes.add("migration_failed", errors["ahead"], "ahead too")
    found = causes.most_first(50)
    assert [(each.tenants, each.examples) for each in found] == [
        (2, ("ahead", "ahead too")), (1, ("unique",)), (1, ("orphan",)),
    ]  # fmt: skip
    assert {each.error for each in found} == set(errors.values())


def test_the_same_error_at_other_places_of_the_migrations_is_another_cause() -> None:
    refused = "UNIQUE constraint failed: item.code"
    places = ["migration 2 (a)", "migration 3 (a)", "migration 2 (a), statement 1, line 2"]
    places += [f"migration {version} (b), statement 1, line 2" for version in range(10, 30)]
    assert len(grouped(*(f"{place}: {refused}" for place in places))) == len(places)


def test_messages_that_differ_only_in_rowids_values_and_names_are_one_group() -> None:
    for form in (
        "migration 2 (a): row {n} of part has no parent ({n} rows in all)",
        "migration 2 (a), statement 1, line 2: malformed JSON in 'Ada {n}' of row -{n}",
        'migration 2 (a): no such column: "{word}"',
        "migration 2 (a): error in view {word}: no such column: {word}2",
        "migration 2 (a): cannot store {n}.5e3 of {name}",
        "its own schema is not that of its version: table {word} should not be there; migration 2 (a): {word}",
    ):
        letters = random.Random(5)
        errors = [
            form.format(n=n, word="".join(letters.choices(string.ascii_lowercase, k=9)), name=new_database_name())
            for n in range(300)
        ]
        [(tenants, error)] = grouped(*errors)
        assert (tenants, error) == (300, errors[0])


def test_few_names_are_as_many_causes_and_many_are_one() -> None:
    def missing(count: int) -> list[str]:
        return [f"migration 2 (a): no such column: c{chr(97 + at)}" for at in range(count)]

    assert len(grouped(*missing(3))) == 3
    assert len(grouped(*missing(26))) == 1
    other = "migration 2 (a): duplicate column name: size"
    assert {tenants for tenants, _ in grouped(*missing(26), other)} == {26, 1}


def test_names_of_several_words_are_names_as_well() -> None:
    letters = random.Random(3)
    names = [
        " ".join("".join(letters.choices(string.ascii_letters, k=5)) for _ in range(letters.randint(1, 4)))
        for _ in range(300)
    ]
    taken = "migration 2 (a), statement 1, line 2: the name {} of row {} is taken"
    errors = [taken.format(name, at) for at, name in enumerate(names)]
    other = "migration 2 (a), statement 1, line 2: the name of row 3 is missing"
    found = grouped(*errors, taken.format("a b c d e f g", 7), other)
    assert sorted(tenants for tenants, _ in found) == [1, 301]


def test_however_many_messages_there_are_memory_and_groups_are_bounded() -> None:
    letters = random.Random(7)
    words = ["".join(letters.choices(string.ascii_letters, k=7)) for _ in range(3_000)]
    causes = Causes()
    tracemalloc.start()
    for number in range(3_000):
        causes.add("drifted", " ".join(letters.sample(words, letters.randint(1, 60))), f"t{number}")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    found = causes.most_first(20)
    assert len(found) == 20
    assert found[-1].cause == OTHER
    assert sum(each.tenants for each in found) == 3_000
    assert all(len(each.examples) <= 3 for each in found)
    assert peak < 3_000_000


def test_nothing_gives_no_groups() -> None:
    assert Causes().most_first(50) == []
