"""`freehold serve` in front of a real sqld: what its environment must say."""

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from testbed.sqld import ADMIN_KEY, Sqld


def sqld_variables(sqld: Sqld) -> dict[str, str]:
    """The variables that make the service keep its tenants there."""
    key_file = sqld.folder / "private.pem"
    if not key_file.exists():
        key_file.touch(mode=0o600)
        key_file.write_bytes(sqld.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return {
        "TENANT_PROVIDER": "sqld",
        "SQLD_URL": sqld.url,
        "SQLD_ADMIN_URL": sqld.admin_url,
        "SQLD_ADMIN_KEY": ADMIN_KEY,
        "SQLD_JWT_KEY_FILE": str(key_file),
    }
