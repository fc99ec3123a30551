#!/usr/bin/env python3
"""Bring all users' databases to the newest published version: `freehold rollout start --wait --budget 100%`.

Whoever fails is named and left as it was, and the others go on; run it again once that is repaired. The verb's
options may be added. Settings come from the environment and from `.env`. Try `--help` and `--dry-run`.
"""

import sys

from freehold.cli.rollout import start

if __name__ == "__main__":
    start(["--wait", "--budget", "100%", *sys.argv[1:]], prog_name="apply_user_db_migrations.py")
