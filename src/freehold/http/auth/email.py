"""`/api/auth`: all routes that work by e-mail address and password, but for sign-up and sign-in themselves."""

from litestar.handlers import HTTPRouteHandler

from freehold.auth.email_services import EmailServices
from freehold.http.auth.account import account_routes
from freehold.http.auth.codes import code_routes
from freehold.http.auth.edge import AuthEdge
from freehold.http.auth.emails import email_routes
from freehold.http.auth.passwords import password_routes
from freehold.http.auth.sessions import session_routes
from freehold.settings.fields import Settings


def email_and_password_routes(
    edge: AuthEdge, services: EmailServices, settings: Settings
) -> list[HTTPRouteHandler]:
    """What `auth_routes` takes as further routes."""
    accounts, resets, addresses = services.accounts, services.password_resets, services.email_addresses
    return [
        *code_routes(edge, services.codes, services.code_sign_in, resets, addresses),
        *password_routes(edge, accounts, resets, settings.public_url),
        *email_routes(edge, addresses),
        *account_routes(edge, accounts, confirms_by_mail=settings.confirm_deletion == "mail"),
        *session_routes(edge, accounts),
    ]
