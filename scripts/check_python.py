"""Says which Python is needed, in words that any Python 3 understands, before anything is downloaded."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 -- an older one is exactly what this is for
    sys.exit("inhouse needs Python 3.11 or newer. Name one: make PYTHON=python3.12 demo")
