"""The mapping that keeps what was set last, and what is remembered of short texts."""

from freehold.lru import Lru, cached_if_short


def test_what_was_set_longest_ago_goes() -> None:
    kept: Lru[str, int] = Lru(2)
    kept["a"], kept["b"], kept["c"] = 1, 2, 3
    assert dict(kept) == {"b": 2, "c": 3}


def test_setting_again_and_moving_to_the_end_keep_an_entry() -> None:
    kept: Lru[str, int] = Lru(2)
    kept["a"], kept["b"], kept["a"] = 1, 2, 10
    kept["c"] = 3
    assert dict(kept) == {"a": 10, "c": 3}
    kept.move_to_end("a")
    kept["d"] = 4
    assert dict(kept) == {"a": 10, "d": 4}


def test_a_default_counts_as_set_and_reading_does_not() -> None:
    kept: Lru[str, int] = Lru(2)
    kept.setdefault("a", 1)
    kept.setdefault("b", 2)
    assert kept.get("a") == kept.setdefault("a", 9) == 1
    kept.setdefault("c", 3)
    assert dict(kept) == {"b": 2, "c": 3}


def test_only_what_is_made_of_short_texts_is_remembered() -> None:
    made: list[str] = []

    @cached_if_short(2, longest=3)
    def length(text: str) -> int:
        made.append(text)
        return len(text)

    assert [length(text) for text in ("abc", "abc", "abcd", "abcd")] == [3, 3, 4, 4]
    assert made == ["abc", "abcd", "abcd"]
    assert length("a") + length("b") == 2
    assert length("abc") == 3
    assert made[3:] == ["a", "b", "abc"]
