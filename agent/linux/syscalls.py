"""The only ctypes: one small function per system call that Python lacks. Errors are OSError with the path.

Imported by helper processes that live in a few megabytes, so it imports next to nothing itself.
"""

import ctypes
import errno
import os

from agent.linux import constants as c

# Numbers of system calls that glibc may not wrap yet. Those from 424 on are the same everywhere.
_ARCH = os.uname().machine
_SYS_CLONE, _SYS_PIVOT_ROOT, _SYS_CAPSET, _SYS_SECCOMP, _SYS_RT_SIGACTION = {
    "x86_64": (56, 155, 126, 317, 13),
    "aarch64": (220, 41, 91, 277, 134),
}.get(_ARCH, (0, 0, 0, 0, 0))
_SYS_SCHED_SETATTR, _SYS_IOPRIO_SET = {"x86_64": (314, 251), "aarch64": (274, 30)}.get(_ARCH, (0, 0))
_SYS_KEYCTL = {"x86_64": 250, "aarch64": 219}.get(_ARCH, 0)
_SYS_BPF = {"x86_64": 321, "aarch64": 280}.get(_ARCH, 0)
_SYS_PIDFD_SEND_SIGNAL = 424
_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_CLONE3 = 435
_SYS_CLOSE_RANGE = 436
_SYS_OPENAT2 = 437
_SYS_MOUNT_SETATTR = 442

_libc = ctypes.CDLL(None, use_errno=True)
_MOST_TRIES = 1000
"""Of what somebody else's renames can keep from succeeding, but only for so long."""
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_HOLDING_STACK_BYTES = 32 << 10
_HOLDING_SECONDS = 30
_holding_stacks: dict[int, ctypes.Array[ctypes.c_char]] = {}
_long = ctypes.c_long
_ulong = ctypes.c_ulong


def clone(flags: int, cgroup: int = -1) -> tuple[int, int]:
    """Like fork with namespaces: (0, -1) in the child, (pid, pidfd) in the parent.

    `cgroup`: a directory of cgroup v2 to be born into. Only for a process with a single thread: Python's own
    after-fork work is skipped.
    """
    pidfd = ctypes.c_int(-1)
    if cgroup >= 0:
        words = (ctypes.c_uint64 * 11)()  # struct clone_args
        words[0] = flags | c.CLONE_PIDFD | c.CLONE_INTO_CGROUP
        words[1], words[4], words[10] = ctypes.addressof(pidfd), 17, cgroup
        pid = _checked(_syscall(_long(_SYS_CLONE3), words, ctypes.c_size_t(ctypes.sizeof(words))), "clone3")
        if pid:
            os.set_inheritable(pidfd.value, False)
        return pid, pidfd.value
    with_signal = flags | c.CLONE_PIDFD | 17  # SIGCHLD
    place = ctypes.byref(pidfd)
    pid = _checked(_syscall(_long(_SYS_CLONE), _ulong(with_signal), None, place, None, None), "clone")
    if pid:
        os.set_inheritable(pidfd.value, False)
    return pid, pidfd.value


def unshare(flags: int) -> None:
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, flags: int) -> None:
    _checked(_libc.setns(fd, flags), "setns")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    done = _libc.mount(
        _path(source), _path(target), _path(kind), _ulong(flags), _path(data) if data else None
    )
    _checked(done, target)


def umount(target: str, flags: int = 0) -> None:
    _checked(_libc.umount2(_path(target), flags), target)


def pivot_root(new: str, old: str) -> None:
    _checked(_syscall(_long(_SYS_PIVOT_ROOT), _path(new), _path(old)), new)


def open_tree(directory: int, path: str, flags: int) -> int:
    return _checked(_syscall(_long(_SYS_OPEN_TREE), directory, _path(path), ctypes.c_uint(flags)), path)


def move_mount(tree: int, target: str) -> None:
    """Attach a detached mount at a path, or with an absolute "/proc/self/fd/N" at a descriptor."""
    flags = ctypes.c_uint(c.MOVE_MOUNT_F_EMPTY_PATH)
    done = _syscall(_long(_SYS_MOVE_MOUNT), tree, b"", c.AT_FDCWD, _path(target), flags)
    _checked(done, target)


def move_mount_on(tree: int, target: int) -> None:
    """Attach a detached mount at exactly the file or directory that a descriptor means."""
    flags = ctypes.c_uint(c.MOVE_MOUNT_F_EMPTY_PATH | c.MOVE_MOUNT_T_EMPTY_PATH)
    _checked(_syscall(_long(_SYS_MOVE_MOUNT), tree, b"", target, b"", flags), "move_mount")


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def mount_setattr(
    tree: int,
    attributes: int,
    propagation: int = 0,
    *,
    recursive: bool = False,
    clear: int = 0,
    user_namespace: int = -1,
) -> None:
    """With a user namespace: its ids stand for those on the file system (MOUNT_ATTR_IDMAP)."""
    attr = _MountAttr(attributes, clear, propagation, 0)
    if user_namespace >= 0:
        attr.attr_set |= c.MOUNT_ATTR_IDMAP
        attr.userns_fd = user_namespace
    flags = ctypes.c_uint(c.AT_EMPTY_PATH | (c.AT_RECURSIVE if recursive else 0))
    size = ctypes.c_size_t(ctypes.sizeof(attr))
    done = _syscall(_long(_SYS_MOUNT_SETATTR), tree, b"", flags, ctypes.byref(attr), size)
    _checked(done, "mount_setattr")


def fsopen(kind: str) -> int:
    return _checked(_syscall(_long(_SYS_FSOPEN), _path(kind), ctypes.c_uint(c.FSOPEN_CLOEXEC)), kind)


def fsconfig(context: int, command: int, key: str = "", value: str = "") -> None:
    """What the kernel says about a refusal waits to be read from the context."""
    texts = (_path(key) if key else None, _path(value) if command == c.FSCONFIG_SET_STRING else None)
    done = _syscall(_long(_SYS_FSCONFIG), context, ctypes.c_uint(command), *texts, 0)
    _checked(done, f"{key}={value}" if value else key)


def fsmount(context: int, attributes: int) -> int:
    """A mount of the new file system that is attached nowhere yet."""
    flags = (ctypes.c_uint(c.FSMOUNT_CLOEXEC), ctypes.c_uint(attributes))
    return _checked(_syscall(_long(_SYS_FSMOUNT), context, *flags), "fsmount")


def file_system_magic(fd: int) -> int:
    """Which kind of file system a descriptor is on, as linux/magic.h numbers them."""
    found = (ctypes.c_long * 32)()
    _checked(_libc.fstatfs(fd, found), "fstatfs")
    return int(found[0])


def holding_child(flags: int) -> int:
    """The pid of a child in new namespaces that does nothing but hold them, until it is killed.

    No fork: it shares our memory and runs only sleep(3), on a stack of its own, so that a process with
    threads may make it too. It ends by itself soon after us, should we be killed meanwhile. It sends no
    signal at its end: wait for it with __WALL.
    """
    stack = ctypes.create_string_buffer(_HOLDING_STACK_BYTES)
    top = ctypes.c_void_p(ctypes.addressof(stack) + _HOLDING_STACK_BYTES - 256 & ~0xFF)
    sleep = ctypes.cast(_libc.sleep, ctypes.c_void_p)
    seconds = ctypes.c_void_p(_HOLDING_SECONDS)
    pid = _checked(_libc.clone(sleep, top, ctypes.c_int(flags | c.CLONE_VM), seconds), "clone")
    _holding_stacks[pid] = stack
    return pid


def end_holding_child(pid: int) -> None:
    os.kill(pid, 9)
    os.waitpid(pid, c.WALL)
    _holding_stacks.pop(pid, None)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def openat2(directory: int, path: str, flags: int, resolve: int) -> int:
    """A rename anywhere on the machine, while the kernel follows a `..`, makes it unsure: it is asked again."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    for _ in range(_MOST_TRIES):
        try:
            return _checked(
                _syscall(_long(_SYS_OPENAT2), directory, _path(path), ctypes.byref(how), size), path
            )
        except BlockingIOError:
            continue
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


def pidfd_send_signal(pidfd: int, signum: int) -> None:
    _checked(_syscall(_long(_SYS_PIDFD_SEND_SIGNAL), pidfd, signum, None, ctypes.c_uint(0)), "pidfd")


def kill_process(pidfd: int, signum: int) -> None:
    """A signal to exactly the process that the descriptor means; one that is gone is fine."""
    try:
        pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        return


def default_signal(signum: int) -> None:
    """Not through glibc: it keeps 32 and 33 for itself, and whoever ignored them passed that on to us."""
    action = bytes(32)  # struct sigaction of SIG_DFL, with no flags and an empty mask
    _syscall(_long(_SYS_RT_SIGACTION), signum, action, None, ctypes.c_size_t(8))


def unblock_signals() -> None:
    _set_signal_mask(b"\0")


def block_signals() -> None:
    _set_signal_mask(b"\xff")


def child_signals() -> int:
    """A descriptor that can be read when children have ended; for a process with a single thread."""
    mask = ctypes.create_string_buffer(128)
    mask[2] = b"\1"  # SIGCHLD, 17
    _checked(_libc.sigprocmask(0, mask, None), "sigprocmask")  # SIG_BLOCK
    return _checked(_libc.signalfd(-1, mask, os.O_CLOEXEC | os.O_NONBLOCK), "signalfd")


def _set_signal_mask(byte: bytes) -> None:
    mask = ctypes.create_string_buffer(byte * 128, 128)
    _checked(_libc.sigprocmask(2, mask, None), "sigprocmask")  # SIG_SETMASK


def prctl(option: int, argument: int = 0, second: int = 0) -> None:
    _checked(_libc.prctl(option, _ulong(argument), _ulong(second), _ulong(0), _ulong(0)), f"prctl {option}")


def die_with_parent() -> None:
    """Killed when the thread that started us ends; it may have ended already."""
    prctl(c.PR_SET_PDEATHSIG, 9)


def name_process(name: str) -> None:
    _checked(_libc.prctl(c.PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0), "prctl PR_SET_NAME")


def capset(effective: int, permitted: int, inheritable: int) -> None:
    low = 0xFFFFFFFF
    sets = (effective, permitted, inheritable)
    words = [one & low for one in sets] + [one >> 32 for one in sets]
    header = (ctypes.c_uint32 * 2)(c.LINUX_CAPABILITY_VERSION_3, 0)
    _checked(_syscall(_long(_SYS_CAPSET), header, (ctypes.c_uint32 * 6)(*words)), "capset")


class _SchedAttr(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def sched_setattr(values: list[int]) -> None:
    """Of the calling process: policy, flags, nice, priority, runtime, deadline, period."""
    attr = _SchedAttr(ctypes.sizeof(_SchedAttr), *values)
    done = _syscall(_long(_SYS_SCHED_SETATTR), 0, ctypes.byref(attr), ctypes.c_uint(0))
    _checked(done, "sched_setattr")


def ioprio_set(priority: int) -> None:
    """Of the calling process: class and level in one number."""
    _checked(_syscall(_long(_SYS_IOPRIO_SET), 1, 0, priority), "ioprio_set")


def join_session_keyring(name: str) -> None:
    """Leave the keys of whoever started us; a kernel without keyrings has none to leave."""
    join = 1  # KEYCTL_JOIN_SESSION_KEYRING
    try:
        _checked(_syscall(_long(_SYS_KEYCTL), join, name.encode()), "keyctl")
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise


def personality(persona: int) -> None:
    _checked(_libc.personality(_ulong(persona)), "personality")


def sethostname(name: str) -> None:
    raw = name.encode()
    _checked(_libc.sethostname(raw, ctypes.c_size_t(len(raw))), "sethostname")


def setdomainname(name: str) -> None:
    raw = name.encode()
    _checked(_libc.setdomainname(raw, ctypes.c_size_t(len(raw))), "setdomainname")


def close_range(first: int, last: int, flags: int = 0) -> None:
    ends = (ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(flags))
    _checked(_syscall(_long(_SYS_CLOSE_RANGE), *ends), "close_range")


class _SockFprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def seccomp_filter(program: bytes, flags: int = 0) -> int:
    """Install a compiled BPF program (8 bytes an instruction) on the calling thread.

    With SECCOMP_FILTER_FLAG_NEW_LISTENER its answer is a descriptor.
    """
    fprog = _SockFprog(len(program) // 8, program)
    mode = ctypes.c_uint(c.SECCOMP_SET_MODE_FILTER)
    arguments = (mode, ctypes.c_uint(flags), ctypes.byref(fprog))
    return _checked(_syscall(_long(_SYS_SECCOMP), *arguments), "seccomp")


def bpf_load_device_program(program: bytes) -> int:
    """The descriptor of an eBPF program (8 bytes an instruction) that allows or refuses devices."""
    code = ctypes.create_string_buffer(program, len(program))
    attributes = (ctypes.c_uint64 * 15)()  # union bpf_attr, up to expected_attach_type and a little further
    attributes[0] = c.BPF_PROG_TYPE_CGROUP_DEVICE | len(program) // 8 << 32
    attributes[1] = ctypes.addressof(code)
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attributes[2] = ctypes.addressof(licence)
    attributes[8] = c.BPF_CGROUP_DEVICE << 32
    return _bpf(c.BPF_PROG_LOAD, attributes, "load the device rules (bpf BPF_PROG_LOAD)")


def bpf_attach_device_program(cgroup: int, program: int) -> None:
    attributes = (ctypes.c_uint32 * 4)(cgroup, program, c.BPF_CGROUP_DEVICE, c.BPF_F_ALLOW_MULTI)
    _bpf(c.BPF_PROG_ATTACH, attributes, "attach the device rules (bpf BPF_PROG_ATTACH)")


def _bpf(
    command: int, attributes: "ctypes.Array[ctypes.c_uint32] | ctypes.Array[ctypes.c_uint64]", about: str
) -> int:
    size = ctypes.c_uint(ctypes.sizeof(attributes))
    return _checked(_syscall(_long(_SYS_BPF), command, ctypes.byref(attributes), size), about)


def inotify_init() -> int:
    return _checked(_libc.inotify_init1(c.IN_NONBLOCK | c.IN_CLOEXEC), "inotify_init1")


def inotify_add_watch(fd: int, path: str, mask: int) -> int:
    return _checked(_libc.inotify_add_watch(fd, _path(path), ctypes.c_uint32(mask)), path)


def pidfd_exit_status(pidfd: int) -> int | None:
    """The raw wait status of a process that somebody else has reaped, where the kernel keeps it (6.15)."""
    info = (ctypes.c_uint64 * 8)(c.PIDFD_INFO_EXIT)
    if _libc.ioctl(pidfd, _ulong(c.PIDFD_GET_INFO), info) != 0 or not info[0] & c.PIDFD_INFO_EXIT:
        return None
    return int(info[7] >> 32)  # the last 4 of 64 bytes


def _path(text: str) -> bytes:
    return os.fsencode(text)


def _checked(result: int, about: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), about)
    return int(result)
