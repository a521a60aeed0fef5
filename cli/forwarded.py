"""Which local port leads to which port inside: `8080:80`, `80`, `:80`, `8080:http`, as kubectl has it. Pure."""

from dataclasses import dataclass

from cli.exits import Wrong


@dataclass(frozen=True, slots=True)
class Wanted:
    """One pair. A local port of 0 is any that is free; None is the one that the remote port turns out to be."""

    local: int | None
    remote: str


def parse(word: str) -> Wanted:
    """Raises Wrong."""
    local, colon, remote = word.rpartition(":")
    _check_remote(remote, word)
    if not colon:
        return Wanted(int(remote) if remote.isdecimal() else None, remote)
    if local and not (local.isdecimal() and int(local) <= 65535):
        raise Wrong(f'"{word}": the local port must be a number up to 65535, or empty for any that is free')
    return Wanted(int(local or 0), remote)


def _check_remote(remote: str, word: str) -> None:
    if remote.isdecimal() and 1 <= int(remote) <= 65535:
        return
    if remote and not remote[0].isdecimal() and remote.replace("-", "").isalnum():
        return
    raise Wrong(
        f'"{word}" is not a port: write LOCAL:REMOTE, REMOTE or :REMOTE; REMOTE is 1 to 65535 or a port\'s name'
    )
