"""A stand-in for the CARLA server: enough of its protocol that the unmodified Python client 0.9.16 can race on it.

``pompc carla standin --port 2000`` serves until Ctrl-C; ``running()`` serves for a test. The cars are the embedded plant of
the racing family. The stand-in tests a client's code, not agreement with Unreal's physics. It has no suspension, gears,
reverse, walkers or traffic manager; it reports collisions and does not resolve them.

Each module builds on those before it:
    ``wire``        byte layouts of the streamed messages
    ``protocol``    msgpack-rpc over TCP, and the forms of its answers
    ``streams``     the second port, over which snapshots and sensor data are pushed
    ``physics``     one car on the embedded plant, and the flip between CARLA's left-handed frame and ours
    ``maps``        OpenDRIVE maps, their ground and their spawn points
    ``blueprints``  kinds of actors
    ``actors``      spawned actors
    ``sensors``     measurements
    ``faults``      faults on request
    ``world``       the episode: settings, actors, the tick
    ``calls``       the remote procedures, by the names the client calls
    ``server``      the two ports and the clock
    ``control``     a tiny client for tests: faults and counters
    ``process``     a server in another process
"""

from .process import StandIn, running

__all__ = ["StandIn", "running"]
