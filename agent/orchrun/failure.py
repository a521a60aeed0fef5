"""A step of a start that failed, in the words that callers of runc look for (pure).

docker turns "executable file not found" into exit code 127 and "permission denied" into 126; podman does the
same by "executable file not found in" and "permission denied".
"""

from agent.orchrun.errors import Failed


def of(step: str, message: str) -> Failed:
    return Failed(f"unable to start container process: {message}" if step == "exec" else f"{step}: {message}")
