"""A process becomes a container: OCI runtime configuration in, container out.

The agent talks to `client.Runtime`. Behind it stand two processes that outlive the agent:
`shim`, the parent of every container, and `logger`, which pumps their output into files.
"""
