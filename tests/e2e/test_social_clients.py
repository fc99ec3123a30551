"""Sign-in with a provider as people meet it: a page in Chromium, and better-auth's official client."""

import json
import shutil
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from testbed.oidc_server import OidcServer
from testbed.servers import ROOT, Service, missing, run_node

NODE = ROOT / "tests/e2e/node"

SIGN_IN_PAGE = """<!doctype html><button id="sign-in">Sign in</button><script>
document.getElementById("sign-in").onclick = async () => {
  const reply = await fetch("SERVICE/api/auth/sign-in/social", {
    method: "POST", credentials: "include", headers: {"content-type": "application/json"},
    body: JSON.stringify({provider: "oidc", newUserCallbackURL: location.origin + "/welcome.html"}),
  });
  location.href = (await reply.json()).url;
};
</script>"""
WELCOME_PAGE = """<!doctype html><pre id="who"></pre><script>
fetch("SERVICE/api/auth/get-session", {credentials: "include"})
  .then((reply) => reply.text()).then((text) => { document.getElementById("who").textContent = text; });
</script>"""


class App:
    """A front end on an origin of its own: two pages."""

    def __init__(self) -> None:
        self.service_url = ""
        app = self

        class Pages(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = {"/app.html": SIGN_IN_PAGE, "/welcome.html": WELCOME_PAGE}.get(self.path)
                self.send_response(200 if page else 404)
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write((page or "").replace("SERVICE", app.service_url).encode())

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    running = App()
    thread = Thread(target=running.server.serve_forever, daemon=True)
    thread.start()
    yield running
    running.server.shutdown()
    running.server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def service(app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with OidcServer() as oidc:
        running = Service(
            tmp_path_factory.mktemp("clients"), **oidc.variables(), TRUSTED_ORIGINS=app.url, RATE_LIMITS="off"
        ).start()
        app.service_url = running.url
        yield running
        running.stop()


def test_a_person_signs_in_with_a_provider_in_a_real_browser(service: Service, app: App) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        missing("chromium is not installed")
    assert chromium is not None
    done = run_node(NODE / "social_browser.mjs", chromium, app.url, "browsing", timeout_s=100)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["who"]["user"]["email"] == "browsing@example.com"
    assert found["readable"] == "", "no script may read a session"
    (cookie,) = found["cookies"]
    assert cookie == {"name": "better-auth.session_token", "httpOnly": True, "sameSite": "Lax"}


def test_the_official_client_starts_links_and_lives_as_a_guest(service: Service) -> None:
    done = run_node(NODE / "social_client.mjs", service.url, "oidc")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["guest"]["isAnonymous"] is True
    assert found["guest"]["same"] is True
    assert found["again"] == "ANONYMOUS_USERS_CANNOT_SIGN_IN_AGAIN_ANONYMOUSLY"
    for asked in (found["social"], found["linking"]):
        assert "/authorize?response_type=code" in asked["url"]
        assert asked["redirect"] is False
    assert found["unknown"] == "PROVIDER_NOT_FOUND"
    assert found["accounts"] == []
    assert found["deleted"] == {"success": True}
    assert found["after"] is None
