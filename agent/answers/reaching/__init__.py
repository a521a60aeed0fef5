"""`net check` on a node: a place like a task's, which answers those of other nodes and tries to reach them."""
