"""The errors a user sees."""


class UserError(Exception):
    """Bad input: one line that names the fault and the fix.

    The command line prints it without a traceback and exits with code 2.
    """


class Unavailable(UserError):
    """Something that a run depends on, such as a simulator's server, cannot be reached.

    The run saves its state before it ends.
    """


class NonFiniteError(RuntimeError):
    """A loss, cost, action or reward that is not finite.

    Args:
        name: the tensor's name, for example ``"planner cost"``.
        where: the place in the tensor, a step or an index, in words.
    """

    def __init__(self, name: str, where: str = "") -> None:
        self.name = name
        self.where = where
        super().__init__(f"{name} is not finite" + (f" ({where})" if where else ""))
