"""What a database token that was verified allows."""

from msgspec import Struct

from freehold.profiles import Profile
from freehold.tenants.types import AccessLevel, level_of


class Grant(Struct, frozen=True):
    """What a valid token allows on one database: `profile`, limited by the service's current setting.

    `token_digest` identifies the token but does not reveal it. `subject` says for whom the token was minted, e.g.
    `session:ID`; `generation` after how many rotations of the database's tokens.
    """

    database_name: str
    profile: Profile
    token_digest: bytes
    subject: str = ""
    generation: int = 0

    @property
    def access_level(self) -> AccessLevel:
        """What the engine must allow."""
        return level_of(self.profile)
