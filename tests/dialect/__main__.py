"""`make dialect`: SQLAlchemy's own suite for dialects, against a real sqld. Arguments go to pytest."""

import sys

from testbed.sqld import running_sqld

from tests.dialect.run import on_sqld, run_suite

with running_sqld() as server:
    sys.exit(run_suite(on_sqld(server), *sys.argv[1:]).returncode)
