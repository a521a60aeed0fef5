"""The capabilities that a configuration asks for and this machine can give.

The specification wants the rest to be a warning, not a failure: images ask for what newer kernels know, and
`--privileged` for everything, also where we ourselves have less.
"""

from agent.runtime import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from agent.orchrun.log import Log


def limit(process: "dict[str, Any]", log: "Log") -> None:
    """Take out of the process what nobody here can grant, and say so."""
    sets = process.get("capabilities")
    if not sets:
        return
    ours = _permitted()
    wanted = {name for names in sets.values() for name in names or []}
    missing = {name for name in wanted if not _is_among(ours, name)}
    if not missing:
        return
    said = f"ignoring unknown or unavailable capabilities: {' '.join(sorted(missing))}"
    log.warning(said)
    process["capabilities"] = {
        kind: [name for name in names or [] if name not in missing] for kind, names in sets.items()
    }


def _is_among(ours: int, name: str) -> bool:
    bare = name.removeprefix("CAP_")
    return bare != name and bare in capabilities.NAMES and bool(ours >> capabilities.NAMES.index(bare) & 1)


def _permitted() -> int:
    with open("/proc/self/status", encoding="utf-8") as table:
        lines = [line for line in table if line.startswith("CapPrm:")]
    return int(lines[0].split()[1], 16)
