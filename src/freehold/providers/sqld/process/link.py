"""The gateway's link to the supervisor of its sqld, if there is one."""

import aiohttp
import msgspec

from freehold.providers.sqld.process.control import SupervisorState

_LIMIT = aiohttp.ClientTimeout(total=2.0)


class SupervisorLink:
    """Asks the supervisor at `url`, with sqld's admin key. The session is the caller's."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"}

    async def state(self) -> SupervisorState | None:
        """How its sqld is; None when the supervisor does not answer, or not to us."""
        try:
            async with self._session.get(
                f"{self._url}/state", headers=self._headers, timeout=_LIMIT, allow_redirects=False
            ) as reply:
                if reply.status != 200:
                    return None
                return msgspec.json.decode(await reply.read(), type=SupervisorState)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError):
            return None

    async def restart(self, reason: str) -> bool:
        """Have sqld killed and started again; False when that is not to be had now."""
        try:
            async with self._session.post(
                f"{self._url}/restart",
                json={"reason": reason},
                headers=self._headers,
                timeout=_LIMIT,
                allow_redirects=False,
            ) as reply:
                return reply.status == 202
        except (aiohttp.ClientError, TimeoutError):
            return False
