import os

from django.core.wsgi import get_wsgi_application
from outside.sending import announce

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "outside.settings")
application = get_wsgi_application()

if "OUTSIDE_AT_IMPORT" in os.environ:
    # As sites do that warm something up: before the server forks, if it preloads.
    announce(os.environ["OUTSIDE_AT_IMPORT"], "imported")
