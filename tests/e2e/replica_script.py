"""An embedded replica made with the official Python library, in a process of its own: that library holds the GIL.

Reads one JSON object from stdin, `{"path", "module", "file", "url", "token", "steps"}`, and prints one JSON line a
step: rows, or the error's text. A step is `sync` or SQL, which is committed.
"""

import importlib
import json
import sys


def main() -> None:
    job = json.load(sys.stdin)
    sys.path.insert(0, job["path"])
    libsql = importlib.import_module(job["module"])
    connection = libsql.connect(job["file"], sync_url=job["url"], auth_token=job["token"])
    for step in job["steps"]:
        try:
            if step == "sync":
                connection.sync()
                print(json.dumps([]), flush=True)
            else:
                rows = connection.execute(step).fetchall() or []
                connection.commit()
                print(json.dumps(rows), flush=True)
        except Exception as error:
            print(json.dumps(str(error)), flush=True)


main()
