"""What the default profile allows and what not, and what comes with a capability."""

import pytest

from agent.runtime.seccomp import default, machines, profile
from tests.support import bpf

_EPERM = profile.ERRNO | 1
_NUMBERS = machines.numbers(machines.X86_64)

_NEVER = [
    *("add_key", "keyctl", "request_key"),  # keys know no namespace
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("kexec_load", "kexec_file_load", "swapon", "swapoff", "pivot_root", "nfsservctl", "userfaultfd"),
    *("_sysctl", "sysfs", "ustat", "uselib", "create_module", "query_module", "get_kernel_syms"),
    *("migrate_pages", "move_pages"),
]


def _ask(capabilities: list[str], name: str, *arguments: int) -> int:
    return bpf.run(default.program(capabilities, machines.X86_64), _NUMBERS[name], arguments)


def test_what_no_program_needs_is_refused_whatever_the_capabilities() -> None:
    everything = list(default.WITH_CAPABILITY)

    for name in _NEVER:
        assert (_ask([], name), _ask(everything, name)) == (_EPERM, _EPERM), name


@pytest.mark.parametrize("capability", default.WITH_CAPABILITY)
def test_what_needs_a_capability_comes_with_it(capability: str) -> None:
    table = machines.numbers(machines.X86_64)
    for name in default.WITH_CAPABILITY[capability].split():
        if name in table and name not in {"clone", "clone3"}:
            assert _ask([], name) in {_EPERM, profile.ERRNO | profile.ENOSYS}, name
            assert _ask([capability], name) == profile.ALLOW, name


def test_a_process_can_be_made_and_a_namespace_cannot() -> None:
    thread, new_user = 0x3D0F00, 0x10000000 | 17

    assert _ask([], "clone", thread) == profile.ALLOW
    assert _ask([], "clone", new_user) == _EPERM
    assert _ask([], "clone3") == profile.ERRNO | profile.ENOSYS
    assert (_ask(["CAP_SYS_ADMIN"], "clone", new_user), _ask(["CAP_SYS_ADMIN"], "clone3")) == (
        profile.ALLOW,
        profile.ALLOW,
    )


@pytest.mark.parametrize(
    ("family", "allowed"),
    [
        *((1, True), (2, True), (10, True), (16, True), (17, True), (44, True)),
        *((12, False), (30, False), (31, False), (38, False), (40, False), (46, False)),
        *((40 | 1 << 32, False), (2 | 1 << 32, False)),  # the kernel would take it for 40, or 2
    ],
)
def test_sockets_are_of_families_that_programs_need(family: int, allowed: bool) -> None:
    assert _ask([], "socket", family) == (profile.ALLOW if allowed else _EPERM)


def test_address_randomisation_cannot_be_turned_off() -> None:
    assert _ask([], "personality", 0xFFFFFFFF) == profile.ALLOW
    assert _ask([], "personality", 0x0040000) == _EPERM


def test_every_name_is_a_system_call_and_stands_once() -> None:
    known = set(machines.numbers(machines.X86_64)) | set(machines.numbers(machines.AARCH64))
    allowed = [name for names in default.ALLOWED.values() for name in names.split()]
    by_capability = {name for names in default.WITH_CAPABILITY.values() for name in names.split()}

    assert set(allowed) | by_capability <= known
    assert len(allowed) == len(set(allowed))
    assert not by_capability & set(allowed)


def test_a_profile_is_compiled_once_for_the_capabilities_that_matter_to_it() -> None:
    one = default.program(["CAP_CHOWN"], machines.X86_64)

    assert default.program(["CAP_KILL", "CAP_SETUID"], machines.X86_64) is one
    assert default.program(["CAP_SYS_ADMIN"], machines.X86_64) is not one


def test_both_machines_have_a_default() -> None:
    program = default.program([], machines.AARCH64)

    assert bpf.run(program, 63, machine=machines.AARCH64.audit) == profile.ALLOW  # read
    assert bpf.run(program, 425, machine=machines.AARCH64.audit) == _EPERM  # io_uring_setup
    assert bpf.run(program, 0, machine=machines.ARM.audit) == profile.KILL_PROCESS
