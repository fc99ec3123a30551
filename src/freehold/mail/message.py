"""A letter written out: subject, text and HTML in the reader's language."""

from dataclasses import dataclass
from html import escape

from freehold.auth.outgoing_email import OutgoingEmail
from freehold.mail.templates import WORDS, Words

# Mail programs know tables and inline styles only. No picture and nothing from elsewhere is loaded.
_HTML = """<!doctype html>
<html lang="{language}" dir="{direction}">
<head><meta charset="utf-8"><title>{subject}</title></head>
<body style="margin:0;padding:24px;font-family:system-ui,'Noto Sans','Noto Sans Arabic','Noto Sans Khmer',sans-serif">
<table role="presentation" dir="{direction}" style="max-width:480px;margin:0 auto;line-height:1.6"><tr><td>
<p>{lead}</p>
{body}
<p style="color:#666">{app}</p>
</td></tr></table>
</body>
</html>
"""
_ASKING = """{secret}
<p>{lasts}</p>
<p style="color:#666">{caution}</p>"""
_CODE = '<p dir="ltr" style="font:bold 28px monospace;letter-spacing:4px;text-align:center">{0}</p>'
_LINK = '<p dir="ltr" style="word-break:break-all"><a href="{0}">{0}</a></p>'


@dataclass(frozen=True, slots=True)
class Message:
    """What one person reads."""

    to: str
    language: str
    subject: str
    text: str
    html: str

    def __repr__(self) -> str:
        return f"Message(to='***', subject={self.subject!r})"


def write_out(letter: OutgoingEmail, app: str) -> Message:
    """The letter in its language. `app` is whom the reader takes it to be from: one line of text."""
    words = WORDS[letter.language]
    subject, lead = (text.format(app=app) for text in words.letters[letter.kind])
    if (advice := words.advice.get(letter.kind)) is not None:
        advice = advice.format(app=app)
        body = f"<p>{escape(advice)}</p>"
        html = _in_html(letter, words, subject=subject, lead=lead, body=body, app=app)
        return Message(letter.to, letter.language, subject, f"{lead}\n\n{advice}\n\n{app}\n", html)
    is_code = letter.kind.endswith("-code")
    lasts, caution = _lasts(letter, words), words.caution
    if is_code:
        caution = f"{caution} {words.code_caution}"
    elif letter.kind == "sign-up-link":
        caution = f"{words.sign_up_caution} {caution}"
    body = _ASKING.format(
        secret=(_CODE if is_code else _LINK).format(escape(letter.secret)),
        lasts=escape(lasts),
        caution=escape(caution),
    )
    html = _in_html(letter, words, subject=subject, lead=lead, body=body, app=app)
    text = f"{lead}\n\n{letter.secret}\n\n{lasts}\n{caution}\n\n{app}\n"
    return Message(to=letter.to, language=letter.language, subject=subject, text=text, html=html)


def _in_html(letter: OutgoingEmail, words: Words, *, subject: str, lead: str, body: str, app: str) -> str:
    return _HTML.format(
        language=letter.language,
        direction=words.direction,
        subject=escape(subject),
        lead=escape(lead),
        body=body,
        app=escape(app),
    )


def _lasts(letter: OutgoingEmail, words: Words) -> str:
    if letter.kind.endswith("-code"):
        return words.code_lasts
    return words.delete_link_lasts if letter.kind == "delete-link" else words.link_lasts
