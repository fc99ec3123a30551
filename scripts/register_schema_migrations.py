#!/usr/bin/env python3
"""Publish the migrations of a folder to the schema registry: the same as `freehold registry publish`.

Settings come from the environment and from `.env`, as for every verb. Try `--help` and `--dry-run`.
"""

from freehold.cli.registry_publish import publish

if __name__ == "__main__":
    publish(prog_name="register_schema_migrations.py")
