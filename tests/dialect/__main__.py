"""`make dialect`: SQLAlchemy's own suite for dialects, against a real sqld. Arguments go to pytest."""

import sys

from tests.dialect.run import run_suite
from tests.support.sqld import running_sqld

with running_sqld() as server:
    sys.exit(run_suite(server, *sys.argv[1:]).returncode)
