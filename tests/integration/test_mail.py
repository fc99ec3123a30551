"""Both ways that mail goes out, against a real SMTP server and a real file."""

import asyncio
import json
import ssl
import stat
import statistics
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from freehold.auth.errors import MailRefused, MailUnavailable
from freehold.auth.outgoing_email import OutgoingEmail
from freehold.mail.outbox import Outbox
from freehold.mail.smtp import SmtpMailer, SmtpServer
from tests.support.mail_server import PASSWORD, USER, certificate_for_loopback, mail_server

LETTER = OutgoingEmail(to="ada@example.com", kind="sign-in-code", language="ar", secret="012345")
SENDER = "بحر <no-reply@example.com>"


def mailer(url: str, tls: ssl.SSLContext | None = None, timeout_s: float = 10) -> SmtpMailer:
    return SmtpMailer(SmtpServer.from_url(url), SENDER, "بحر", tls or ssl.create_default_context(), timeout_s=timeout_s)


async def test_a_letter_arrives_as_text_and_html() -> None:
    with mail_server() as mailbox:
        await mailer(mailbox.url).send(LETTER)
    (letter,) = mailbox.letters
    assert mailbox.recipients == [["ada@example.com"]]
    assert letter["To"] == "ada@example.com"
    assert letter["From"] == SENDER
    assert letter["Auto-Submitted"] == "auto-generated"
    assert letter["Message-ID"].endswith("@example.com>")
    assert letter["Date"]
    assert "بحر" in letter["Subject"]
    assert letter.get_content_type() == "multipart/alternative"
    kinds = [part.get_content_type() for part in letter.iter_parts()]
    assert kinds == ["text/plain", "text/html"]
    assert "\n012345\n" in mailbox.text().replace("\r", "")
    html = letter.get_body(("html",))
    assert html is not None
    assert 'dir="rtl"' in html.get_content()


async def test_a_rehearsal_goes_as_far_as_the_letter_itself() -> None:
    with mail_server() as mailbox:
        await mailer(mailbox.url).rehearse(LETTER)
        assert mailbox.commands == ["MAIL", "RCPT"]
    assert mailbox.letters == []


# The server knows nothing of the TLS around it.
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("how", ["smtps", "starttls"])
async def test_mail_travels_encrypted_with_a_login(how: str, tmp_path: Path) -> None:
    server, client = certificate_for_loopback(tmp_path)
    tls = {"tls": server} if how == "smtps" else {"starttls": server}
    with mail_server(needs_login=True, **tls) as mailbox:
        scheme, _, place = mailbox.url.partition("://")
        url = f"{scheme}://{USER}:{quote(PASSWORD, safe='')}@{place}"
        if how == "starttls":
            url += "?starttls=required"
        await mailer(url, client).send(LETTER)
        assert len(mailbox.letters) == 1
        with pytest.raises(MailUnavailable):  # a certificate that nobody vouches for
            await mailer(url).send(LETTER)
        with pytest.raises(MailUnavailable):
            await mailer(url.replace(USER, "somebody"), client).send(LETTER)
    assert len(mailbox.letters) == 1


async def test_without_tls_where_it_must_be_nothing_is_said() -> None:
    with mail_server() as mailbox:
        with pytest.raises(MailUnavailable):
            await mailer(f"{mailbox.url}?starttls=required").send(LETTER)
        assert mailbox.commands == []


async def _outcome(mailer: SmtpMailer, how: str) -> str:
    try:
        await getattr(mailer, how)(LETTER)
    except (MailRefused, MailUnavailable) as error:
        told = str(error)
        return type(error).__name__ if not {"012345", "ada@"} & set(told.split()) else told
    return "sent"


@pytest.mark.parametrize(
    ("moods", "outcome"),
    [
        ({"rcpt_answer": "550 no such user ada@example.com"}, "MailRefused"),
        ({"rcpt_answer": "451 come back later"}, "MailUnavailable"),
        ({"rcpt_answer": "421 too busy"}, "MailUnavailable"),
        ({"data_answer": "552 mailbox full"}, "MailUnavailable"),
        ({"data_answer": "451 disk full"}, "MailUnavailable"),
    ],
)
async def test_an_unwilling_server_is_an_error_with_a_letter_and_without(moods: dict[str, str], outcome: str) -> None:
    with mail_server() as mailbox:
        sender = mailer(mailbox.url)
        for name, value in moods.items():
            setattr(mailbox, name, value)
        assert [await _outcome(sender, how) for how in ("send", "rehearse", "send")] == [outcome] * 3
        mailbox.rcpt_answer = mailbox.data_answer = "250 OK"
        assert [await _outcome(sender, how) for how in ("send", "rehearse")] == ["sent", "sent"]
    assert len(mailbox.letters) == 1


async def test_no_server_is_an_error_and_a_silent_one_too() -> None:
    with mail_server() as mailbox:
        gone = mailer(mailbox.url)
    assert [await _outcome(gone, how) for how in ("send", "rehearse")] == ["MailUnavailable"] * 2

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    waiting = mailer(f"smtp://127.0.0.1:{port}", timeout_s=0.3)
    started = time.monotonic()
    assert [await _outcome(waiting, how) for how in ("send", "rehearse")] == ["MailUnavailable"] * 2
    assert time.monotonic() - started < 10
    silent.close()


async def test_whether_a_letter_goes_out_cannot_be_told_by_the_time_it_takes() -> None:
    with mail_server() as mailbox:
        mailbox.slow_s = 0.2
        sender = mailer(mailbox.url)
        await sender.send(LETTER)
        for _attempt in range(3):
            times: dict[str, list[float]] = {"send": [], "rehearse": []}
            for _ in range(4):
                for how, taken in times.items():
                    started = time.monotonic()
                    await getattr(sender, how)(LETTER)
                    taken.append(time.monotonic() - started)
            sent, rehearsed = (statistics.median(taken) for taken in times.values())
            assert min(times["rehearse"]) >= 0.2
            if abs(sent - rehearsed) < 0.1:
                return
    pytest.fail(f"measured three times; at last {sent:.3f} s with a letter, {rehearsed:.3f} s without")


async def test_a_busy_server_is_not_called_by_everybody_at_once() -> None:
    with mail_server() as mailbox:
        sender = mailer(mailbox.url)
        await asyncio.gather(*(sender.send(LETTER) for _ in range(60)))
    assert len(mailbox.letters) == 60


async def test_the_outbox_has_a_line_for_each_letter(tmp_path: Path) -> None:
    path = tmp_path / "outbox.jsonl"
    outboxes = [Outbox(path, "Bahar"), Outbox(path, "Bahar")]
    await asyncio.gather(*(outboxes[number % 2].send(LETTER) for number in range(40)))
    await outboxes[0].rehearse(LETTER)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 40
    assert all(set(line) == {"to", "subject", "text", "sent_at"} for line in lines)
    assert lines[0]["to"] == "ada@example.com"
    assert "012345" in lines[0]["text"]
    assert lines[0]["sent_at"].endswith("Z")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_an_outbox_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    for path in (tmp_path / "absent" / "outbox.jsonl", tmp_path, Path("/dev/full")):
        with pytest.raises(MailUnavailable):
            await Outbox(path, "Bahar").send(LETTER)
    for path in (tmp_path / "absent" / "outbox.jsonl", tmp_path):
        with pytest.raises(MailUnavailable):
            await Outbox(path, "Bahar").rehearse(LETTER)
