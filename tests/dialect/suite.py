"""Every test of SQLAlchemy's suite for dialects. What does not apply is said in `requirements`."""

from sqlalchemy.testing.suite import *  # noqa: F403
