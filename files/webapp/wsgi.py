"""The entry point of Gunicorn and the flask command."""

import sys

from miniwebapp import create_app
from miniwebapp.config import ConfigurationError

try:
    app = create_app()
except ConfigurationError as error:
    sys.exit(f"miniwebapp: {error}")
