"""The texts of every e-mail in every language, and their rendering as text and HTML. `{app}` is the app's name."""

from dataclasses import dataclass
from html import escape

from freehold.auth.outgoing_email import EmailKind, Language, OutgoingEmail


@dataclass(frozen=True, slots=True)
class Words:
    """One language. `messages` has a subject and an opening sentence for each kind, `advice` the rest of notices."""

    direction: str
    messages: dict[EmailKind, tuple[str, str]]
    code_lasts: str
    link_lasts: str
    delete_link_lasts: str
    caution: str
    code_caution: str
    sign_up_caution: str
    advice: dict[EmailKind, str]


_ENGLISH = Words(
    direction="ltr",
    messages={
        "sign-in-code": ("Your code for {app}", "Use this code to sign in to {app}:"),
        "verify-code": ("Confirm your e-mail address", "Use this code to confirm your address at {app}:"),
        "reset-code": ("Choose a new password", "Use this code to choose a new password at {app}:"),
        "change-email-code": ("Confirm your new e-mail address", "Use this code to confirm your new address at {app}:"),
        "verify-link": ("Confirm your e-mail address", "Open this link to confirm your address at {app}:"),
        "sign-up-link": (
            "Confirm your e-mail address",
            "Open this link to confirm your address at {app}. Your account gets the password of this sign-up:",
        ),
        "reset-link": ("Choose a new password", "Open this link to choose a new password at {app}:"),
        "change-email-link": (
            "Confirm your new e-mail address",
            "Open this link to confirm your new address at {app}:",
        ),
        "delete-link": (
            "Confirm the deletion of your account",
            "Open this link to delete your account at {app} and all that is in it:",
        ),
        "address-changed": (
            "Your e-mail address was changed",
            "The e-mail address of your account at {app} was changed. It is no longer this one.",
        ),
        "password-changed": ("Your password was changed", "The password of your account at {app} was changed."),
    },
    code_lasts="It is valid for 5 minutes and works once.",
    link_lasts="It is valid for one hour.",
    delete_link_lasts="It is valid for one day.",
    caution="If you did not ask for this, ignore this mail, and nothing will happen.",
    code_caution="Nobody has a reason to ask you for this code.",
    sign_up_caution="Open it only if you signed up yourself: otherwise someone else knows that password.",
    advice={
        "address-changed": "If you did this, there is nothing to do. If not, tell the operators of {app} at once:"
        " you can no longer sign in with this address.",
        "password-changed": "If you did this, there is nothing to do. If not, choose a new password at once, as if"
        " you had forgotten it: that ends all sessions.",
    },
)

_ARABIC = Words(
    direction="rtl",
    messages={
        "sign-in-code": ("رمزك لدى {app}", "استخدم هذا الرمز لتسجيل الدخول إلى {app}:"),
        "verify-code": ("تأكيد عنوان بريدك الإلكتروني", "استخدم هذا الرمز لتأكيد عنوانك لدى {app}:"),
        "reset-code": ("اختيار كلمة مرور جديدة", "استخدم هذا الرمز لاختيار كلمة مرور جديدة لدى {app}:"),
        "change-email-code": (
            "تأكيد عنوان بريدك الإلكتروني الجديد",
            "استخدم هذا الرمز لتأكيد عنوانك الجديد لدى {app}:",
        ),
        "verify-link": ("تأكيد عنوان بريدك الإلكتروني", "افتح هذا الرابط لتأكيد عنوانك لدى {app}:"),
        "sign-up-link": (
            "تأكيد عنوان بريدك الإلكتروني",
            "افتح هذا الرابط لتأكيد عنوانك لدى {app}. وتصبح كلمة المرور المختارة عند هذا التسجيل كلمة مرور حسابك:",
        ),
        "reset-link": ("اختيار كلمة مرور جديدة", "افتح هذا الرابط لاختيار كلمة مرور جديدة لدى {app}:"),
        "change-email-link": ("تأكيد عنوان بريدك الإلكتروني الجديد", "افتح هذا الرابط لتأكيد عنوانك الجديد لدى {app}:"),
        "delete-link": ("تأكيد حذف حسابك", "افتح هذا الرابط لحذف حسابك لدى {app} وكل ما فيه:"),
        "address-changed": (
            "تم تغيير عنوان بريدك الإلكتروني",
            "أصبح لحسابك لدى {app} عنوان بريد إلكتروني آخر، ولم يعد له هذا العنوان.",
        ),
        "password-changed": ("تم تغيير كلمة مرورك", "تم تغيير كلمة مرور حسابك لدى {app}."),
    },
    code_lasts="الرمز صالح لمدة 5 دقائق ولمرة واحدة فقط.",
    link_lasts="الرابط صالح لمدة ساعة واحدة.",
    delete_link_lasts="الرابط صالح لمدة يوم واحد.",
    caution="إن لم تطلب ذلك فتجاهل هذه الرسالة، ولن يحدث شيء.",
    code_caution="لا يحق لأحد أن يطلب منك هذا الرمز.",
    sign_up_caution="لا تفتحه إلا إذا كنت أنت من سجّل، وإلا فإن شخصًا آخر يعرف كلمة المرور هذه.",
    advice={
        "address-changed": "إن كنت أنت من فعل ذلك فلا يلزمك شيء. وإلا فأبلغ القائمين على {app} فورًا، لأن هذا العنوان"
        " لم يعد يفتح الحساب.",
        "password-changed": "إن كنت أنت من فعل ذلك فلا يلزمك شيء. وإلا فاختر كلمة مرور جديدة فورًا كما لو أنك نسيتها،"
        " فذلك ينهي جميع الجلسات.",
    },
)

_KHMER = Words(
    direction="ltr",
    messages={
        "sign-in-code": ("លេខកូដរបស់អ្នកសម្រាប់ {app}", "ប្រើលេខកូដនេះដើម្បីចូលទៅ {app}៖"),
        "verify-code": ("បញ្ជាក់អាសយដ្ឋានអ៊ីមែលរបស់អ្នក", "ប្រើលេខកូដនេះដើម្បីបញ្ជាក់អាសយដ្ឋានអ៊ីមែលរបស់អ្នកនៅ {app}៖"),
        "reset-code": ("ជ្រើសរើសពាក្យសម្ងាត់ថ្មី", "ប្រើលេខកូដនេះដើម្បីជ្រើសរើសពាក្យសម្ងាត់ថ្មីនៅ {app}៖"),
        "change-email-code": ("បញ្ជាក់អាសយដ្ឋានអ៊ីមែលថ្មីរបស់អ្នក", "ប្រើលេខកូដនេះដើម្បីបញ្ជាក់អាសយដ្ឋានអ៊ីមែលថ្មីរបស់អ្នកនៅ {app}៖"),
        "verify-link": ("បញ្ជាក់អាសយដ្ឋានអ៊ីមែលរបស់អ្នក", "បើកតំណនេះដើម្បីបញ្ជាក់អាសយដ្ឋានអ៊ីមែលរបស់អ្នកនៅ {app}៖"),
        "sign-up-link": (
            "បញ្ជាក់អាសយដ្ឋានអ៊ីមែលរបស់អ្នក",
            "បើកតំណនេះដើម្បីបញ្ជាក់អាសយដ្ឋានអ៊ីមែលរបស់អ្នកនៅ {app}។ គណនីរបស់អ្នកនឹងមានពាក្យសម្ងាត់ដែលបានជ្រើសរើសពេលចុះឈ្មោះនេះ៖",
        ),
        "reset-link": ("ជ្រើសរើសពាក្យសម្ងាត់ថ្មី", "បើកតំណនេះដើម្បីជ្រើសរើសពាក្យសម្ងាត់ថ្មីនៅ {app}៖"),
        "change-email-link": ("បញ្ជាក់អាសយដ្ឋានអ៊ីមែលថ្មីរបស់អ្នក", "បើកតំណនេះដើម្បីបញ្ជាក់អាសយដ្ឋានអ៊ីមែលថ្មីរបស់អ្នកនៅ {app}៖"),
        "delete-link": ("បញ្ជាក់ការលុបគណនីរបស់អ្នក", "បើកតំណនេះដើម្បីលុបគណនីរបស់អ្នកនៅ {app} និងអ្វីៗទាំងអស់នៅក្នុងនោះ៖"),
        "address-changed": (
            "អាសយដ្ឋានអ៊ីមែលរបស់អ្នកត្រូវបានប្ដូរ",
            "គណនីរបស់អ្នកនៅ {app} មានអាសយដ្ឋានអ៊ីមែលផ្សេងហើយ ហើយលែងប្រើអាសយដ្ឋាននេះទៀត។",
        ),
        "password-changed": ("ពាក្យសម្ងាត់របស់អ្នកត្រូវបានប្ដូរ", "ពាក្យសម្ងាត់នៃគណនីរបស់អ្នកនៅ {app} ត្រូវបានប្ដូរ។"),
    },
    code_lasts="លេខកូដនេះមានសុពលភាព 5 នាទី ហើយប្រើបានតែម្តង។",
    link_lasts="តំណនេះមានសុពលភាពមួយម៉ោង។",
    delete_link_lasts="តំណនេះមានសុពលភាពមួយថ្ងៃ។",
    caution="បើអ្នកមិនបានស្នើសុំទេ សូមកុំអើពើនឹងអ៊ីមែលនេះ ហើយគ្មានអ្វីកើតឡើងឡើយ។",
    code_caution="គ្មាននរណាមានហេតុផលសួររកលេខកូដនេះពីអ្នកឡើយ។",
    sign_up_caution="សូមបើកវាតែពេលដែលអ្នកបានចុះឈ្មោះដោយខ្លួនឯង បើមិនដូច្នោះទេ អ្នកផ្សេងស្គាល់ពាក្យសម្ងាត់នោះ។",
    advice={
        "address-changed": "បើអ្នកបានធ្វើវា មិនចាំបាច់ធ្វើអ្វីទេ។ បើមិនមែនទេ សូមប្រាប់អ្នកដែលដំណើរការ {app} ភ្លាមៗ"
        " ព្រោះអាសយដ្ឋាននេះលែងបើកគណនីបានទៀតហើយ។",
        "password-changed": "បើអ្នកបានធ្វើវា មិនចាំបាច់ធ្វើអ្វីទេ។ បើមិនមែនទេ សូមជ្រើសរើសពាក្យសម្ងាត់ថ្មីភ្លាមៗ"
        " ដូចជាអ្នកបានភ្លេចវា៖ វានឹងបញ្ចប់វគ្គទាំងអស់។",
    },
)

WORDS: dict[Language, Words] = {"en": _ENGLISH, "ar": _ARABIC, "km": _KHMER}


# Mail programs support only tables and inline styles. No images or remote content are loaded.
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
    """A rendered e-mail to one person."""

    to: str
    language: str
    subject: str
    text: str
    html: str

    def __repr__(self) -> str:
        return f"Message(to='***', subject={self.subject!r})"


def write_out(email: OutgoingEmail, app: str) -> Message:
    """Render the e-mail in its language. `app` is the sender's name as the reader knows it: one line of text."""
    words = WORDS[email.language]
    subject, lead = (text.format(app=app) for text in words.messages[email.kind])
    if (advice := words.advice.get(email.kind)) is not None:
        told = advice.format(app=app)
        body = f"<p>{escape(told)}</p>"
    else:
        is_code = email.kind.endswith("-code")
        lasts = words.delete_link_lasts if email.kind == "delete-link" else words.link_lasts
        caution = words.caution
        if is_code:
            lasts, caution = words.code_lasts, f"{caution} {words.code_caution}"
        elif email.kind == "sign-up-link":
            caution = f"{words.sign_up_caution} {caution}"
        told = f"{email.secret}\n\n{lasts}\n{caution}"
        secret = (_CODE if is_code else _LINK).format(escape(email.secret))
        body = _ASKING.format(secret=secret, lasts=escape(lasts), caution=escape(caution))
    html = _HTML.format(
        language=email.language,
        direction=words.direction,
        subject=escape(subject),
        lead=escape(lead),
        body=body,
        app=escape(app),
    )
    return Message(email.to, email.language, subject, f"{lead}\n\n{told}\n\n{app}\n", html)
