"""TLS to servers on the internet."""

import ssl
from functools import cache

import httpx


@cache
def public_tls() -> ssl.SSLContext:
    """What trusts the authorities that everyone trusts, whatever the environment says.

    One for all clients of the process, as it takes some 20 ms to read them.
    """
    return httpx.create_ssl_context(trust_env=False)
