"""TLS to servers on the internet."""

import ssl
from functools import cache

import httpx


@cache
def public_tls() -> ssl.SSLContext:
    """A context that trusts the usual public authorities, whatever the environment says.

    All clients of the process share it, as loading the authorities takes some 20 ms.
    """
    return httpx.create_ssl_context(trust_env=False)
