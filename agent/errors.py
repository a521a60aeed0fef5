"""Why the agent does not start."""


class CannotStart(Exception):
    """Why, and what to do."""
