"""The profile that a container has when nothing else is said: a list of what programs need, by reason.

All else is refused with EPERM, as with Docker, whose profile this one is no wider than. What a capability is
needed for anyway comes with the capability. Only calls made the machine's own way are allowed: not those of
32-bit programs, which few run and much has been found in.
"""

from agent.runtime.seccomp import compiler, machines, profile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from agent.runtime.seccomp.machines import Machine
    from agent.runtime.seccomp.profile import Profile

ALLOWED = {
    "files by name": """
        access chdir chmod chown creat faccessat faccessat2 fchmodat fchmodat2 fchownat futimesat getcwd lchown
        link linkat lstat mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 readlink
        readlinkat rename renameat renameat2 rmdir stat statfs statx symlink symlinkat truncate unlink unlinkat
        utime utimensat utimes""",
    "its own table of mounts": "listmount statmount",
    "extended attributes": """
        fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat
        llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat""",
    "open files": """
        cachestat close close_range copy_file_range dup dup2 dup3 fadvise64 fallocate fchdir fchmod fchown fcntl
        fdatasync flock fstat fstatfs fsync ftruncate getdents getdents64 ioctl lseek pipe pipe2 pread64 preadv
        preadv2 pwrite64 pwritev pwritev2 read readahead readv sendfile splice sync sync_file_range syncfs tee
        vmsplice write writev""",
    "older asynchronous input and output; io_uring has its own way round a filter": """
        io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit""",
    "waiting for events": """
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old
        eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch poll ppoll
        pselect6 select signalfd signalfd4 timerfd_create timerfd_gettime timerfd_settime""",
    "memory": """
        brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap
        mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
        remap_file_pages""",
    "processes and threads": """
        arch_prctl execve execveat exit exit_group fork get_robust_list get_thread_area getpgid getpgrp getpid
        getppid getrusage getsid gettid pidfd_open prctl process_mrelease restart_syscall rseq set_robust_list
        set_thread_area set_tid_address setpgid setsid vfork wait4 waitid""",
    "debuggers, on processes of the same user": "process_vm_readv process_vm_writev ptrace",
    "locks": "futex futex_requeue futex_wait futex_waitv futex_wake",
    "signals": """
        kill pause pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
        rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sigaltstack tgkill tkill uretprobe""",
    "time": """
        adjtimex alarm clock_adjtime clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep
        setitimer time timer_create timer_delete timer_getoverrun timer_gettime timer_settime times""",
    "network": """
        accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg
        sendmsg sendto setsockopt shutdown socketpair""",
    "messages, semaphores and memory shared with others": """
        mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd
        semctl semget semop semtimedop shmat shmctl shmdt shmget""",
    "who it is, and giving that up": """
        capget capset getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid setgid
        setgroups setregid setresgid setresuid setreuid setuid umask""",
    "limits, priorities and processors": """
        getcpu getpriority getrlimit ioprio_get ioprio_set prlimit64 sched_get_priority_max
        sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
        sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
        setpriority setrlimit""",
    "the machine": "getrandom sysinfo uname",
    "older programs that make code at run time (x86)": "modify_ldt",
    "shutting itself in further": """
        landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp""",
}
"""Reason → calls."""

WITH_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
        lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
        quotactl_fd setdomainname sethostname setns syslog umount2 unshare""",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime settimeofday",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}

_NAMESPACES = 0x7E020000
"""Every flag of clone that makes a namespace, CLONE_NEWTIME apart: for clone its bit means a signal."""
_FAMILIES = (1, 2, 10, 16, 17, 15, 29, 43, 44)
"""Unix, IPv4, IPv6, netlink, packet, key, CAN, SMC, XDP: all that know network namespaces or need a capability.

Named one by one, so that bits above the 32 which the kernel looks at make no other family of it.
"""
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""Linux, and 32-bit or old names of it: what shells ask for. Not what turns address randomisation off."""

_programs: dict[tuple[frozenset[str], str], bytes] = {}


def program(capabilities: "Iterable[str]", machine: "Machine | None" = None) -> bytes:
    """The filter for a container with these capabilities in its bounding set; made once."""
    machine = machine or machines.native()
    key = (frozenset(capabilities).intersection(WITH_CAPABILITY), machine.name)
    if key not in _programs:
        _programs[key] = compiler.program(of(key[0], machine))
    return _programs[key]


def of(capabilities: "Collection[str]", machine: "Machine") -> "Profile":
    rules = [profile.Rule(names.split(), profile.ALLOW) for names in ALLOWED.values()]
    for capability, names in WITH_CAPABILITY.items():
        if capability in capabilities:
            rules.append(profile.Rule(names.split(), profile.ALLOW))
    if "CAP_SYS_ADMIN" not in capabilities:
        nothing_new = profile.Condition(0, "MASKED_EQ", _NAMESPACES, 0)
        rules.append(profile.Rule(["clone"], profile.ALLOW, [nothing_new]))
        # Its flags lie in memory, where a filter cannot see them; libraries then use clone
        rules.append(profile.Rule(["clone3"], profile.ERRNO | profile.ENOSYS))
    for name, values in (("socket", _FAMILIES), ("personality", _PERSONALITIES)):
        rules += [
            profile.Rule([name], profile.ALLOW, [profile.Condition(0, "EQ", value)]) for value in values
        ]
    return profile.Profile(profile.ERRNO | 1, [machine], rules)
