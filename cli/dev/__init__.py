"""A whole cluster on one machine: each node in its own network namespace, with its own address and state."""
