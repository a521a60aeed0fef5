"""Images made on this node from a Dockerfile and its context."""
