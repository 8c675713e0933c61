"""Import matplotlib even if ``MPLBACKEND`` names a missing back-end; import this module before matplotlib.

matplotlib refuses to be imported if it cannot find the back-end that ``MPLBACKEND`` names. Jupyter sets the variable for
every process that it starts, also for interpreters without that back-end. This module uses the back-end if it is there
and ignores it otherwise: pompc opens no window.
"""

import os
from contextlib import suppress

_name = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib

    if _name:
        with suppress(ValueError):  # an unknown name
            matplotlib.rcParams["backend"] = _name
finally:
    if _name is not None:
        os.environ["MPLBACKEND"] = _name
