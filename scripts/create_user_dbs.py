#!/usr/bin/env python3
"""Make the databases of all users who have none yet: the same as `freehold tenants provision`.

Settings come from the environment and from `.env`, as for every verb. Try `--help` and `--dry-run`.
"""

import sys

from freehold.cli.provision import provision

if __name__ == "__main__":
    provision(sys.argv[1:], prog_name="create_user_dbs.py")
