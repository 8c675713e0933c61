"""A program that makes a CARLA server load a world; it reads its order as JSON from the standard input.

It runs in a process that may abort: the client of version 0.9.16 may do so when the world changes, because it can end the
old episode's subscription after the new one has begun under the same number.
"""

import json
import os
import sys

import carla  # pyright: ignore[reportMissingImports]


def main() -> None:
    """Load the town, or make a world of the OpenDRIVE definition."""
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
