"""A real OpenID Connect provider as a child process, and a browser without a screen that signs in there."""

import re
import tempfile
from html import unescape
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import httpx

from testbed.process import Process, spawn
from testbed.servers import ROOT, clean_environ, missing, require

_SCRIPT = ROOT / "tests/e2e/node/oidc_server.mjs"
_MAX_HOPS = 20
CLIENT_ID, CLIENT_SECRET = "freehold-client", "a secret, with + and % in it"


class OidcServer(Process):
    """`oidc-provider` on a free loopback port, for one registered client with these callbacks."""

    def __init__(self, *provider_ids: str, client_id: str = CLIENT_ID, client_secret: str = CLIENT_SECRET) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="oidc-")
        super().__init__(Path(self._folder.name) / "oidc.log")
        self.client_id, self.client_secret = client_id, client_secret
        self._callbacks = [f"http://127.0.0.1/api/auth/callback/{name}" for name in provider_ids or ("oidc",)]
        self.issuer = ""

    def __enter__(self) -> Self:
        node = require("node")
        if not (_SCRIPT.parent / "node_modules/oidc-provider").is_dir():
            missing("the OpenID Connect provider is not installed: run `make test` once")
        words = [node, str(_SCRIPT), self.client_id, self.client_secret, *self._callbacks]
        begins = spawn(words, _SCRIPT.parent, clean_environ())
        assert self.launch(begins, self._listens), f"the provider did not start: {self.log()}"
        return self

    def _listens(self) -> bool:
        found = re.search(r"^listening (\d+)$", self.said(), re.MULTILINE)
        if found:
            self.issuer = f"http://127.0.0.1:{found[1]}"
        return found is not None

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.kill()
        self._folder.cleanup()

    def variables(self, **more: str) -> dict[str, str]:
        """What Freehold needs to let people sign in here."""
        return {
            "OIDC_ISSUER": self.issuer,
            "OIDC_CLIENT_ID": self.client_id,
            "OIDC_CLIENT_SECRET": self.client_secret,
            **more,
        }


class Browser:
    """Keeps cookies, follows redirects and fills in forms; stops before each way back to the service."""

    def __init__(self, service_url: str) -> None:
        self.service_url = service_url
        # One jar a site: cookies do not tell ports apart, browsers' other rules aside.
        self.service = httpx.Client(base_url=service_url, timeout=30)
        self.provider = httpx.Client(timeout=30)

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self.service.post(f"/api/auth/{path}", json=body, headers={"origin": self.service_url})

    def start(self, provider: str = "oidc", path: str = "sign-in/social", **more: Any) -> str:
        """The provider's address to go to."""
        body = {
            "provider": provider,
            "callbackURL": "/dash",
            "newUserCallbackURL": "/welcome",
            "errorCallbackURL": "/oops",
            **more,
        }
        reply = self.post(path, body)
        assert reply.status_code == 200, reply.text
        return str(reply.json()["url"])

    def consent(self, url: str, name: str) -> str:
        """Sign in at the provider as `name`; gives the address at the service that it sends the browser back to."""
        reply = self.provider.get(url)
        for _ in range(_MAX_HOPS):
            if reply.is_redirect:
                url = urljoin(str(reply.url), reply.headers["location"])
                if url.startswith(f"{self.service_url}/"):
                    return url
                reply = self.provider.get(url)
                continue
            assert reply.status_code == 200, reply.text
            form = re.search(r'<form[^>]*action="([^"]+)"', reply.text)
            assert form, reply.text
            prompt = re.search(r'name="prompt" value="(\w+)"', reply.text)
            assert prompt, reply.text
            fields = {"prompt": prompt[1], "login": name, "password": "any"}
            reply = self.provider.post(urljoin(str(reply.url), unescape(form[1])), data=fields)
        raise AssertionError("the provider does not let go of the browser")

    def come_back(self, url: str) -> str:
        """Where the service sends the browser then."""
        reply = self.service.get(url)
        assert reply.status_code == 302, reply.text
        return str(reply.headers["location"])

    def sign_in(self, name: str, provider: str = "oidc", **more: Any) -> str:
        """All of it."""
        return self.come_back(self.consent(self.start(provider, **more), name))

    def leave_provider(self) -> None:
        """Forget the session at the provider, to be somebody else there next."""
        self.provider.cookies.clear()

    @property
    def session(self) -> Any:
        return self.service.get("/api/auth/get-session").json()
