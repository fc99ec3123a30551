"""The log: never in the way of the event loop, one shape whatever writes a line."""

import io
import json
import threading
import time

import pytest

from freehold.log import LineWriter, configure_logging, get_logger, quick_info


class _Stuck(io.StringIO):
    """A reader that does not read."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = threading.Event()
        self.may_go_on = threading.Event()

    def write(self, text: str) -> int:
        self.is_asked.set()
        self.may_go_on.wait(60)
        return super().write(text)


def test_a_reader_that_does_not_read_holds_nobody_up() -> None:
    stream = _Stuck()
    writer = LineWriter(stream)
    writer.msg("first")
    assert stream.is_asked.wait(30)  # the thread is stuck in it now
    started = time.perf_counter()
    for number in range(1000):
        writer.msg(f"line {number}")
    assert time.perf_counter() - started < 30
    stream.may_go_on.set()
    writer.close()
    assert stream.getvalue().splitlines() == ["first", *(f"line {number}" for number in range(1000))]


def test_lines_go_out_without_being_asked_for() -> None:
    stream = _Stuck()
    stream.may_go_on.set()
    writer = LineWriter(stream)
    writer.msg("hello")
    assert stream.is_asked.wait(30)
    writer.close()
    assert stream.getvalue() == "hello\n"
    writer.close()


def _lines(stream: io.StringIO) -> list[dict[str, object]]:
    configure_logging("error", "json")  # closes the writer, so that all is written
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_quick_line_has_the_shape_of_every_other(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging("info", "json")
    get_logger().info("thing.happened", request_id="r", status=200)
    quick_info("thing.happened")({"request_id": "r", "status": 200})
    slow, quick = _lines(stream)
    assert quick.keys() == slow.keys()
    timestamps = [str(line.pop("timestamp")) for line in (slow, quick)]
    assert quick == slow
    assert all(len(text) == 27 and text.endswith("Z") for text in timestamps)


def test_the_quick_line_is_silent_below_its_level(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging("warning", "json")
    quick_info("thing.happened")({"status": 200})
    assert _lines(stream) == []


def test_a_traceback_on_a_terminal_shows_no_local_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    configure_logging("info", "console")

    def fails() -> None:
        password = "hunter2-hunter2"
        raise ValueError(len(password))

    try:
        fails()
    except ValueError:
        get_logger().exception("thing.failed")
    configure_logging("error", "json")
    # The source line is there, the value of a variable is not repeated beside it.
    assert "ValueError: 15" in stream.getvalue()
    assert stream.getvalue().count("hunter2") == 0
