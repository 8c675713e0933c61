"""Import this before matplotlib: a back-end for windows that is not here costs nothing, for no window is opened.

matplotlib refuses to be imported where ``MPLBACKEND`` names a back-end that it cannot find. Jupyter sets the variable for
every process that it starts, also for those of interpreters without the back-end. It is obeyed here where it can be.
"""

import os
from contextlib import suppress

_name = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib

    if _name:
        with suppress(ValueError):  # what matplotlib raises on its name
            matplotlib.rcParams["backend"] = _name
finally:
    if _name is not None:
        os.environ["MPLBACKEND"] = _name
