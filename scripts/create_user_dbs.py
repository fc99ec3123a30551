#!/usr/bin/env python3
"""Make the databases of all users who have none yet: the same as `freehold tenants create --pending`.

Settings come from the environment and from `.env`, as for every verb. Try `--help` and `--dry-run`.
"""

import sys

from freehold.cli.tenants import create

if __name__ == "__main__":
    create(["--pending", *sys.argv[1:]], prog_name="create_user_dbs.py")
