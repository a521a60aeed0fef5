"""orchctl: the user's hands."""
