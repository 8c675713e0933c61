"""A stand-in for the CARLA server: enough of its protocol that the unmodified Python client 0.9.16 can race on it.

``pompc carla standin --port 2000`` serves until Ctrl-C; ``running()`` does so for a test. The cars are
the embedded plant of the racing family. It proves the plumbing of a client, not agreement with Unreal's physics: no
suspension, no gears, no reverse, no walkers, no traffic manager; collisions are reported, not resolved.

The parts, each a layer on those before it:
    ``wire``        byte layouts of the streamed messages
    ``protocol``    msgpack-rpc over TCP, and the forms of its answers
    ``streams``     the second port, over which snapshots and sensor data are pushed
    ``physics``     one car on the embedded plant, and the flip between CARLA's left-handed frame and ours
    ``maps``        OpenDRIVE maps, what ground they give the cars, their spawn points
    ``blueprints``  what can be spawned
    ``actors``      what has been spawned
    ``sensors``     what sensors measure
    ``faults``      what can be made to go wrong
    ``world``       the episode: settings, actors, the tick
    ``calls``       the remote procedures, by the names the client calls
    ``server``      the two ports and the clock
    ``control``     a tiny client for tests: faults and counters
    ``process``     a server as a process of its own
"""

from .process import StandIn, running

__all__ = ["StandIn", "running"]
