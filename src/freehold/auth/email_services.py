"""All that works by e-mail address and password, together."""

from dataclasses import dataclass

from freehold.auth.accounts import Accounts
from freehold.auth.code_sign_in import CodeSignIn
from freehold.auth.codes import Codes
from freehold.auth.email_addresses import EmailAddresses
from freehold.auth.password_resets import PasswordResets


@dataclass(frozen=True, slots=True)
class EmailServices:
    """The services behind the routes of `http/auth_email.py`."""

    accounts: Accounts
    codes: Codes
    code_sign_in: CodeSignIn
    email_addresses: EmailAddresses
    password_resets: PasswordResets
