"""The same site on PostgreSQL, with `postgres.toml`. Where the database is, the variables of libpq say: PGHOST, PGUSER, PGDATABASE and so on."""

import os

from .settings import *  # noqa: F403

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("PGDATABASE", "mysite"),
        # Each thread of each worker keeps a connection for so many seconds.
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }
}
