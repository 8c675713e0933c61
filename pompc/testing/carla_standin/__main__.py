"""``python -m pompc.testing.carla_standin``: the command ``pompc carla standin`` with the same flags."""

import sys

from pompc.cli import main

sys.exit(main(["carla", "standin", *sys.argv[1:]]))
