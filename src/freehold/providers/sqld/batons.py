"""Batons that only the token and the database can use that they were given to.

sqld asks of a baton only that it made it: with a leaked one, another tenant's valid token reaches into the stream. So
clients get sqld's baton encrypted, with the token's digest and the database's name as what it is good for. No state
is kept: any process of the installation opens what another sealed.
"""

import base64
import binascii
import secrets
import struct
import time

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from freehold.providers.failures import BadBaton
from freehold.providers.tokens import Grant

_NONCE_BYTES = 12
_MAX_LENGTH = 4096
_MARK = b"\x01"  # in no baton of sqld's
_SINCE = struct.Struct("!cd")


class BatonCipher:
    """Seals and opens batons with a key of 32 bytes."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, baton: str, grant: Grant, since: float) -> str:
        """What the client gets for sqld's baton. ASCII without characters that JSON escapes.

        `since` goes with it: when the stream is known to have been in no transaction, in seconds of `time.time`.
        """
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, _SINCE.pack(_MARK, since) + baton.encode(), _bound_to(grant))
        return base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, baton: str, grant: Grant) -> tuple[str, float]:
        """sqld's baton for the client's, and what was sealed with it.

        Raises:
            BadBaton: not one of ours, or given to another token or for another database.
        """
        if len(baton) > _MAX_LENGTH:
            raise BadBaton("the baton is not valid")
        try:
            sealed = base64.b64decode(baton.encode("ascii"), altchars=b"-_", validate=True)
            text = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound_to(grant))
            if text[:1] != _MARK:  # sealed before there was a time with it
                return text.decode(), time.time()
            return text[_SINCE.size :].decode(), _SINCE.unpack_from(text)[1]
        except (InvalidTag, ValueError, binascii.Error) as error:
            raise BadBaton("the baton is not valid") from error


def _bound_to(grant: Grant) -> bytes:
    return b"\0".join((grant.token_digest, grant.profile.encode(), grant.database_name.encode()))
