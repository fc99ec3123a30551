#!/usr/bin/env python3
"""Bring all users' databases to the newest published version: the same as `freehold tenants migrate --all`.

Settings come from the environment and from `.env`, as for every verb. Try `--help` and `--dry-run`.
"""

import sys

from freehold.cli.tenant_life import migrate

if __name__ == "__main__":
    migrate(["--all", *sys.argv[1:]], prog_name="apply_user_db_migrations.py")
