"""What destrier serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
application = get_wsgi_application()

# Django would import it with the first request. Now a mistake in a view is found by `destrier reload`, which then changes nothing.
from . import urls  # noqa: E402, F401
