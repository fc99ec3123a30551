"""The format of "range" answers about passwords from breaches, as Have I Been Pwned defines it.

A password is known by the SHA-1 of its UTF-8 text in hexadecimal. Five digits of it name a range; the answer has a
line `SUFFIX:COUNT` for each hash in it, the suffix being the other 35 digits. A count of 0 is padding.
Source: https://haveibeenpwned.com/API/v3#PwnedPasswords
"""

import hashlib

PREFIX_CHARS = 5


def digest_of(password: str) -> str:
    """40 upper-case hexadecimal digits; it names a password, and keeps none safe."""
    return hashlib.sha1(password.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest().upper()


def is_listed(suffix: str, lines: str) -> bool:
    """Whether a range answer holds this (upper-case) rest of a hash, with a count."""
    for line in lines.splitlines():
        found, _, times = line.strip().partition(":")
        if found.upper() == suffix:
            return times.strip() != "0"
    return False
