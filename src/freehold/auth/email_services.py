"""All that works by e-mail address and password, together."""

from dataclasses import dataclass

from freehold.auth.email.addresses import EmailAddresses
from freehold.auth.email.code_sign_in import CodeSignIn
from freehold.auth.email.codes import Codes
from freehold.auth.email.password_resets import PasswordResets
from freehold.auth.users.accounts import Accounts


@dataclass(frozen=True, slots=True)
class EmailServices:
    """The services behind the routes of `http/auth/email.py`."""

    accounts: Accounts
    codes: Codes
    code_sign_in: CodeSignIn
    email_addresses: EmailAddresses
    password_resets: PasswordResets
