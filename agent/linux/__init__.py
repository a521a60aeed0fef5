"""The kernel by its own names; the only room that calls it directly."""
