"""Guards the devices of a cgroup with a program. Imported by the shim: no heavy imports."""

import os

from agent.linux import syscalls


def guard(programs: dict[bytes, int], path: str, program: bytes) -> None:
    """Attach the program that is asked about every device; the kernel holds it once for all groups."""
    if program not in programs:
        programs[program] = syscalls.bpf_load_device_program(program)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscalls.bpf_attach_device_program(directory, programs[program])
    finally:
        os.close(directory)
