"""A client that `openapi-python-client` made from `/schema`, against a running service: `URL EMAIL PASSWORD`.

Run in a process of its own, with the generated package on its path.
"""

import json
import sys
import time

from freehold_client import AuthenticatedClient, Client
from freehold_client.api.admin import list_audit
from freehold_client.api.auth import get_session, sign_in_email, sign_up_email
from freehold_client.api.database import pipeline_v3
from freehold_client.api.databases import user_database
from freehold_client.api.migrations import list_migrations
from freehold_client.models import (
    AuthError,
    DatabaseCredentials,
    HranaError,
    HranaPipelineReq,
    HranaPipelineResp,
    MigrationPage,
    Problem,
    SessionReply,
    SignInEmailBody,
    SignUpEmailBody,
    SignUpReply,
)

url, email, password = sys.argv[1:]

# Each keeps the cookies that it is given: who signs up is nobody's stranger afterwards.
newcomer, stranger = Client(base_url=url), Client(base_url=url)
signed_up = sign_up_email.sync(client=newcomer, body=SignUpEmailBody(name="Ada", email=email, password=password))
assert isinstance(signed_up, SignUpReply), signed_up
ada = AuthenticatedClient(base_url=url, token=signed_up.token or "")
session = get_session.sync(client=ada)
assert isinstance(session, SessionReply), session

database = None
for _ in range(100):
    database = user_database.sync(client=ada)
    if isinstance(database, DatabaseCredentials):
        break
    time.sleep(0.1)
assert isinstance(database, DatabaseCredentials), database
owner = AuthenticatedClient(base_url=url, token=database.access_token)
body = HranaPipelineReq.from_dict(
    {
        "requests": [
            {"type": "execute", "stmt": {"sql": "SELECT ? + 1", "args": [{"type": "integer", "value": "41"}]}},
            {"type": "execute", "stmt": {"sql": "SELECT * FROM nowhere"}},
            {"type": "close"},
        ]
    }
)
answer = pipeline_v3.sync(database.db_name, client=owner, body=body)
assert isinstance(answer, HranaPipelineResp), answer
total, failed, _ = (each.to_dict() for each in answer.results)

page = list_migrations.sync(client=stranger, after=0)
assert isinstance(page, MigrationPage), page
audit = list_audit.sync_detailed(client=ada)
assert isinstance(audit.parsed, Problem), audit
nobody = user_database.sync_detailed(client=stranger)
assert isinstance(nobody.parsed, Problem), nobody
wrong = sign_in_email.sync_detailed(client=stranger, body=SignInEmailBody(email=email, password="not this one"))
assert isinstance(wrong.parsed, AuthError), wrong
hrana = pipeline_v3.sync_detailed(database.db_name, client=stranger, body=HranaPipelineReq(requests=[]))
assert isinstance(hrana.parsed, HranaError), hrana
print(
    json.dumps(
        {
            "userId": session.user.id,
            "name": database.db_name,
            "row": total["response"]["result"]["rows"][0][0]["value"],
            "failed": failed["error"]["message"],
            "version": page.version,
            "release": page.release.text.split("\n")[0] if page.release else None,
            "forbidden": [audit.status_code, audit.parsed.code, audit.parsed.title],
            "unauthenticated": [nobody.status_code, nobody.parsed.code],
            "wrong": [wrong.status_code, wrong.parsed.code],
            "hrana": [hrana.status_code, hrana.parsed.code],
        }
    )
)
