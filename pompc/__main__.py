"""Run the command line by ``python -m pompc``."""

import sys

from pompc.cli import main

sys.exit(main())
