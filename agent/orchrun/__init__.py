"""The runtime as a command that callers of runc and crun can be pointed at: podman, docker, containerd.

Every call is a new interpreter that lives for milliseconds, so this room imports late and little: options are
read by hand, JSON through the interpreter's own scanner.
"""
