"""What the stores of tokens and keys promise of many at once, with the central database in a file and on a server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from freehold.auth.api_keys.errors import ApiKeyRateLimited
from freehold.auth.api_keys.types import KeyHolder, NewApiKey
from freehold.auth.errors import BadAccessToken, BadRefreshToken
from freehold.auth.types import Client, NewUser
from freehold.dates import to_iso
from freehold.wiring.tokens import TokenServices
from tests.support.auth_app import AuthApp, QuickHasher, auth_and_tokens, running_auth
from tests.support.central_place import CentralPlace

ADA = NewUser(name="Ada", email="ada@example.com", password="correct-horse-1")
ISSUER = "http://127.0.0.1"


@pytest.fixture
async def app(tmp_path: Path, place: CentralPlace) -> AsyncIterator[AuthApp]:
    async with running_auth(tmp_path, ISSUER, QuickHasher(), place) as running:
        yield running


async def test_a_refresh_token_is_used_by_one_of_many_in_two_processes(app: AuthApp, place: CentralPlace) -> None:
    async with auth_and_tokens(place, ISSUER, QuickHasher()) as (_auth, others, _central, _created):
        pair = await app.tokens.pairs.start(await app.auth.sign_up(ADA, Client()))
        both = (app.tokens.pairs, others.pairs)
        found = await asyncio.gather(*(each.refresh(pair.refresh_token) for each in both * 5))
        assert len({each.refresh_token for each in found}) == 1
        assert await app.rows("SELECT count(*) FROM refresh_token") == [(2,)]
        then = to_iso(datetime.now(UTC) - timedelta(minutes=1))
        await app.write("UPDATE refresh_token SET used_at = ? WHERE used_at IS NOT NULL", then)
        with pytest.raises(BadRefreshToken):
            await others.pairs.refresh(pair.refresh_token)
        for pairs in both:
            with pytest.raises(BadRefreshToken):
                await pairs.refresh(found[0].refresh_token)
            with pytest.raises(BadAccessToken):
                await pairs.read(found[0].access.text)
        assert await app.rows("SELECT count(*) FROM refresh_token") == [(0,)]


async def test_processes_agree_on_the_key_that_signs(app: AuthApp, place: CentralPlace) -> None:
    async with auth_and_tokens(place, ISSUER, QuickHasher()) as (_auth, others, _central, _created):
        both: tuple[TokenServices, TokenServices] = (app.tokens, others)
        first = await asyncio.gather(*(each.signing_keys.signer() for each in both * 3))
        assert len({key.key_id for key in first}) == 1
        user = (await app.auth.sign_up(ADA, Client())).user
        assert await app.tokens.jwts.of_user(user)
        new = await app.tokens.signing_keys.rotate()
        assert [jwk["kid"] for jwk in await others.signing_keys.published()] == [new, first[0].key_id]
        assert (await others.signing_keys.signer()).key_id == new
        made = await asyncio.gather(*(each.signing_keys.rotate() for each in both * 2))
        assert (await others.signing_keys.signer()).key_id in made
        assert await app.rows('SELECT count(*) FROM jwks WHERE "expiresAt" IS NULL') == [(1,)]


async def test_a_keys_limit_holds_for_processes_together(app: AuthApp, place: CentralPlace) -> None:
    async with auth_and_tokens(place, ISSUER, QuickHasher()) as (_auth, others, _central, _created):
        owner = (await app.auth.sign_up(ADA, Client())).user_id
        _, text = await app.tokens.api_keys.create(owner, NewApiKey(rate_limit_max=5, remaining=50))
        both = (app.tokens.api_keys, others.api_keys)
        found = await asyncio.gather(*(each.recognise(text) for each in both * 8), return_exceptions=True)
        assert sum(isinstance(each, KeyHolder) for each in found) == 5
        assert sum(isinstance(each, ApiKeyRateLimited) for each in found) == 11
        assert await app.rows('SELECT "requestCount", remaining FROM apikey') == [(5, 45)]
