"""Write the agent that `pompc demo` plays from a run of adaptive_hrl on carla_racing::

    python results/carla_racing/export_demo.py RUN_DIR

It takes the best checkpoint and keeps what plays. Commit the file, and name the commit of the run in the message.
"""

import sys
from pathlib import Path

from pompc.envs.carla_racing.demo import ADAPTIVE_HRL
from pompc.training.export import export

if __name__ == "__main__":
    file = export(Path(sys.argv[1]), ADAPTIVE_HRL)
    print(f"{file}: {file.stat().st_size:,} bytes")
