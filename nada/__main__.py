"""Run the command line: `python -m nada`."""

import sys

from .cli import main

sys.exit(main())
