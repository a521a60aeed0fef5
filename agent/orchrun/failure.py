"""A step of a start that failed, in the words that callers of runc look for (pure).

docker takes "executable file not found" and "no such file or directory" for exit code 127 and "permission
denied" for 126; podman, "executable file not found in" and "permission denied".
"""

from agent.orchrun.errors import Failed

_SAID_AS = (
    ("not found in PATH", "executable file not found in $PATH"),
    ("no such file in the image", "no such file or directory"),
    ("the file is there, but", "no such file or directory"),
)


def of(step: str, message: str) -> Failed:
    if step != "exec":
        return Failed(f"{step}: {message}")
    words = [words for ours, words in _SAID_AS if ours in message and words not in message]
    return Failed(f"unable to start container process: {': '.join([*words, message])}")
