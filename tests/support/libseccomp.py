"""Filters as libseccomp makes them, which runc and crun use: what ours are compared with."""

import ctypes
import os
import tempfile

from agent.runtime.seccomp import machines, profile

_OPERATORS = {"NE": 1, "LT": 2, "LE": 3, "EQ": 4, "GE": 5, "GT": 6, "MASKED_EQ": 7}
_OPTIMIZE = 8
_BAD_MACHINE = 2
_EXISTS = -17


class _Condition(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class Missing(RuntimeError):
    """This machine has no libseccomp."""


def program(config: profile.Profile, *, tree: bool = False) -> bytes:
    """Added rule by rule, as runc does; `tree`: as a binary tree, which newer runtimes ask for."""
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        raise Missing("libseccomp.so.2 is not installed") from error
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(config.default)))
    try:
        _check(library.seccomp_attr_set(context, _BAD_MACHINE, ctypes.c_uint32(profile.KILL_PROCESS)))
        if tree:
            _check(library.seccomp_attr_set(context, _OPTIMIZE, ctypes.c_uint32(2)))
        for machine in config.machines[1:]:
            _check(library.seccomp_arch_add(context, ctypes.c_uint32(machine.audit)))
        for rule in config.rules:
            if rule.action != config.default:
                _add(library, context, rule)
        with tempfile.TemporaryFile() as file:
            _check(library.seccomp_export_bpf(context, file.fileno()))
            file.seek(0)
            return file.read()
    finally:
        library.seccomp_release(context)


def _add(library: ctypes.CDLL, context: ctypes.c_void_p, rule: profile.Rule) -> None:
    conditions = (_Condition * len(rule.conditions))(
        *(_Condition(one.index, _OPERATORS[one.operator], one.value, one.second) for one in rule.conditions)
    )
    for name in rule.names:
        number = machines.numbers(machines.native()).get(name)
        if number is None:
            continue
        count = ctypes.c_uint(len(rule.conditions))
        done = library.seccomp_rule_add_array(
            context, ctypes.c_uint32(rule.action), number, count, conditions
        )
        if done != _EXISTS:
            _check(done)


def _check(done: int) -> None:
    if done < 0:
        raise OSError(-done, os.strerror(-done), "libseccomp")
