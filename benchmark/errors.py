"""The one exception that the command line shows as a single line with exit status 2."""


class UserError(Exception):
    """A fault that the user can mend: its message names the fault and the valid choices."""
