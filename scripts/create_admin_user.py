#!/usr/bin/env python
"""Make an administrator: `python scripts/create_admin_user.py EMAIL`; the same as `freehold users create-admin`."""

from freehold.cli.users import create_admin

if __name__ == "__main__":
    create_admin()
