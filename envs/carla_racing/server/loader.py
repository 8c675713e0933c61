"""A program: has a CARLA server load a world, as told in JSON on its standard input.

It stands alone, because the client of version 0.9.16 may abort its process when the world changes: the old episode's
subscription can be ended after the new one's has begun, which has the same number. So no process that matters does this.
"""

import json
import os
import sys

import carla  # pyright: ignore[reportMissingImports]


def main() -> None:
    """Load the town, or make a world of the definition."""
    order = json.load(sys.stdin)
    client = carla.Client(order["host"], order["port"], worker_threads=1)
    client.set_timeout(order["patience"])
    if order["town"] is None:
        client.generate_opendrive_world(order["definition"], carla.OpendriveGenerationParameters(**order["walls"]))
    else:
        client.load_world(order["town"])


if __name__ == "__main__":
    main()
    os._exit(0)  # at once: it need not be orderly
