"""How mails read, in each language."""

import re
from typing import get_args

import pytest

from freehold.auth.outgoing_email import EmailKind, Language, NoticeKind, OutgoingEmail
from freehold.mail.smtp import SmtpServer, to_mime
from freehold.mail.templates import write_out

NOTICES = get_args(NoticeKind)
KINDS = [kind for kind in get_args(EmailKind) if kind not in NOTICES]
LANGUAGES = get_args(Language)
SCRIPTS = {"en": r"[a-z]", "ar": r"[\u0600-\u06ff]", "km": r"[\u1780-\u17ff]"}
SENDER = "Bahar <no-reply@example.com>"


def letter(kind: EmailKind, language: Language, secret: str = "012345") -> OutgoingEmail:
    return OutgoingEmail(to="ada@example.com", kind=kind, language=language, secret=secret)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_letter_is_whole_in_every_language(kind: EmailKind, language: Language) -> None:
    message = write_out(letter(kind, language), "Bahar")
    for part in (message.subject, message.text, message.html):
        assert re.search(SCRIPTS[language], part)
        assert "{" not in part.replace("{0}", "")
        assert "None" not in part
    # Whoever reads the code out of it, a person or a program, finds one number of six digits.
    assert re.findall(r"\d{6}", message.text) == ["012345"]
    assert "012345" in message.html
    assert "Bahar" in message.text
    assert "012345" not in message.subject, "subjects are shown on locked screens"


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", NOTICES)
def test_a_notice_says_what_was_done_and_what_to_do_and_leads_nowhere(kind: NoticeKind, language: Language) -> None:
    message = write_out(letter(kind, language), "<Bahar>")
    for part in (message.subject, message.text, message.html):
        assert re.search(SCRIPTS[language], part)
        assert "{" not in part
        assert not re.search(r"012345|https?:|href", part)
    assert message.text.count("<Bahar>") >= 2
    assert "<Bahar>" not in message.html
    assert len(message.text.split("\n\n")) == 3


def test_arabic_runs_from_right_to_left_but_the_code_does_not() -> None:
    html = write_out(letter("sign-in-code", "ar"), "Bahar").html
    assert '<html lang="ar" dir="rtl">' in html
    assert re.search(r'<p dir="ltr"[^>]*>012345</p>', html)
    assert '<html lang="km" dir="ltr">' in write_out(letter("sign-in-code", "km"), "Bahar").html


def test_a_link_cannot_leave_its_place_in_the_html() -> None:
    url = 'http://x/verify?token=a&callbackURL=/"><script>alert(1)</script>'
    html = write_out(letter("verify-link", "en", url), '<b>"App"</b>').html
    assert "<script" not in html
    assert "<b>" not in html
    assert "token=a&amp;callbackURL=" in html


@pytest.mark.parametrize("break_", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("where", ["to", "app", "sender"])
def test_no_line_break_gets_into_a_header(where: str, break_: str) -> None:
    trick = f"x{break_}Bcc: eve@evil.example"
    to = f"ada@example.com{trick}" if where == "to" else "ada@example.com"
    asked = OutgoingEmail(to=to, kind="sign-in-code", language="en", secret="1")
    message = write_out(asked, trick if where == "app" else "Bahar")
    with pytest.raises(ValueError, match=r"(?i)header|address|CR|linefeed"):
        to_mime(message, f"{trick} <a@b.example>" if where == "sender" else SENDER)


def test_neither_letters_nor_servers_print_their_secrets() -> None:
    written = letter("sign-in-code", "en")
    server = SmtpServer.from_url("smtps://me:hunter2@mail.example.com")
    for thing in (written, write_out(written, "Bahar"), server):
        for secret in ("012345", "ada@example.com", "hunter2"):
            assert secret not in repr(thing)


def test_clear_text_goes_to_this_machine_only_unless_it_is_asked_for() -> None:
    found = {
        url: SmtpServer.from_url(url)
        for url in (
            "smtp://127.0.0.1:1025",
            "smtp://localhost:1025",
            "smtp://mail.example.com",
            "smtp://mailpit:1025?starttls=off",
            "smtp://127.0.0.1:1025?starttls=required",
            "smtps://u%40x:p%2Fw@mail.example.com",
        )
    }
    assert [server.needs_starttls for server in found.values()] == [False, False, True, False, True, False]
    assert [server.port for server in found.values()] == [1025, 1025, 587, 1025, 1025, 465]
    last = found["smtps://u%40x:p%2Fw@mail.example.com"]
    assert (last.username, last.password, last.is_tls) == ("u@x", "p/w", True)
