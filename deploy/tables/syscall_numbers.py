"""Writes agent/runtime/seccomp/numbers.txt: the number of every system call on the machines that orch knows.

    python deploy/tables/syscall_numbers.py HEADERS

HEADERS is a directory with the kernel's user headers of each machine in a folder of its name. Debian has
them: `apt-get download linux-libc-dev linux-libc-dev-arm64-cross linux-libc-dev-armhf-cross`, unpacked with
`dpkg -x`, and the folders that hold asm/unistd.h linked as x86, arm64 and arm. What is newer than those
headers stands below: since Linux 5.1 a new system call has the same number everywhere.
"""

import re
import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parents[2] / "agent/runtime/seccomp/numbers.txt"
MACHINES = {
    "x86_64": ("x86", ["asm/unistd_64.h"], []),
    "x86": ("x86", ["asm/unistd_32.h"], []),
    "aarch64": ("arm64", ["asm/unistd.h"], []),
    "arm": ("arm", ["asm/unistd.h"], ["-D__ARM_EABI__"]),
}
LATER = {
    "cachestat": 451,  # Linux 6.5
    "fchmodat2": 452,  # 6.6
    "map_shadow_stack": 453,
    "futex_wake": 454,  # 6.7
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,  # 6.8
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,  # 6.10
    "setxattrat": 463,  # 6.13
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,  # 6.15
    "file_getattr": 468,  # 6.17
    "file_setattr": 469,
}
ONLY_X86_64 = {"uretprobe": 335}  # 6.11
_NO_CALLS = {"syscalls", "arch_specific_syscall", "SYSCALL_MASK"}


def main(headers: Path) -> None:
    columns = {machine: numbers(headers, machine) for machine in MACHINES}
    names = sorted({name for column in columns.values() for name in column})
    lines = [f"name {' '.join(MACHINES)}"]
    lines += [" ".join([name, *(str(columns[one].get(name, "-")) for one in MACHINES)]) for name in names]
    TARGET.write_text("\n".join(lines) + "\n")


def numbers(headers: Path, machine: str) -> dict[str, int]:
    folder, files, flags = MACHINES[machine]
    includes = "".join(f"#include <{file}>\n" for file in files)
    command = ["gcc", "-nostdinc", "-E", "-dM", *flags, "-I", str(headers / folder), "-"]
    said = subprocess.run(command, input=includes, capture_output=True, text=True, check=True).stdout
    words = dict(re.findall(r"^#define (\S+) (.+)$", said, re.MULTILINE))
    found = {}
    for word, text in words.items():
        name = re.sub(r"^__(NR|ARM_NR)_", "", word)
        if name != word and name not in _NO_CALLS and "BASE" not in name:
            found[name] = evaluate(text, words)
    later = LATER | (ONLY_X86_64 if machine == "x86_64" else {})
    return later | found


def evaluate(text: str, words: dict[str, str]) -> int:
    """A number, the name of one, or a sum of the two in parentheses."""
    parts = [part.strip() for part in text.strip("()").split("+")]
    return sum(int(part, 0) if part[0].isdigit() else evaluate(words[part], words) for part in parts)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
