"""``python -m pompc.sweep.child run ...``: the command line, stopped at its next safe point when its parent is gone.

The parent holds the other end of the standard input. However the parent ends, that end closes.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from pompc.cli import main


def _stop_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    # Ray blocks the signal for its processes and theirs, and a shell ignores it for those in its background.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    sys.exit(main())
