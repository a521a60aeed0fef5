"""Where a call begins: a process that will be forked into a container first becomes one that nobody can rewrite.

The interpreter would be seen in there as /proc/PID/exe, and an image whose program is "#!/proc/self/exe"
would run it once more, as a process of the container that may open it for writing (CVE-2019-5736). So those
verbs execute themselves again from a read-only view of it. This file imports nothing before that.
"""

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_FORKS_INTO_CONTAINERS = {"create", "run", "exec"}
_BOOT = (
    "import gc, sys; gc.disable(); sys.path.insert(0, sys.argv[1]); del sys.argv[1];"
    " from agent.orchrun import main; main.main()"
)
"""What lives for milliseconds collects no garbage."""
_CODE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main() -> "NoReturn":
    gc.disable()
    if _FORKS_INTO_CONTAINERS & set(sys.argv[1:]):
        from agent.runtime import sealed

        if not sealed.is_sealed():
            _again(sealed.interpreter(_interpreter()))
    from agent.orchrun import main as program

    program.main()


def _interpreter() -> str:
    """That of the virtual environment's Python, without the environment: it starts faster."""
    return str(getattr(sys, "_base_executable", sys.executable))


def _again(program: int) -> "NoReturn":
    arguments = [_interpreter(), "-I", "-S", "-c", _BOOT, _CODE, *sys.argv[1:]]
    os.execve(f"/proc/self/fd/{program}", arguments, os.environ)
