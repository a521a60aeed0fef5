"""Which system calls a container may make: profiles, and the filters that the kernel runs for them.

Used where containers are planned, never in the shim: a filter travels there as bytes.
"""
