"""What stands between an instruction and its words: `--from=build --chown=app`, `--mount=type=cache,…` (pure)."""

import re
from collections.abc import Sequence

from orch.dockerfile import instructions as i
from orch.dockerfile.problem import nearest

_TAKEN: dict[str, frozenset[str]] = {
    "FROM": frozenset({"platform"}),
    "RUN": frozenset({"mount", "network", "security"}),
    "COPY": frozenset({"from", "chown", "chmod", "link", "parents", "exclude"}),
    "ADD": frozenset({"chown", "chmod", "link", "exclude", "checksum", "keep-git-dir"}),
    "HEALTHCHECK": frozenset({"interval", "timeout", "start-period", "start-interval", "retries"}),
}
_FLAG = re.compile(r"--([A-Za-z-]+)(?:=(\"[^\"]*\"|\S*))?(?:\s+|$)")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_KINDS = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARING = ("shared", "private", "locked")


class Flags:
    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = pairs

    def one(self, name: str) -> str:
        """Its value; the last one given, "" for none."""
        return (self.all(name) or [""])[-1]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]

    def yes(self, name: str) -> bool:
        return any(value in {"", "true", "1"} for value in self.all(name))


def take(text: str, instruction: str) -> tuple[Flags, str]:
    """The flags at the start of an instruction, and the rest; ValueError for one that it does not take."""
    known = _TAKEN.get(instruction, frozenset())
    found: list[tuple[str, str]] = []
    while known and (match := _FLAG.match(text)):
        name = match.group(1)
        if name not in known:
            hint = nearest(name, known) or f"{instruction} takes " + ", ".join(
                f"--{one}" for one in sorted(known)
            )
            raise ValueError(f"{instruction} does not take --{name}", hint)
        found.append((name, (match.group(2) or "").strip('"')))
        text = text[match.end() :]
    return Flags(found), text


def mount(text: str) -> i.Mount:
    """The value of one --mount; ValueError says what is wrong with it."""
    given = dict(_key_value(part) for part in text.split(","))
    kind = given.pop("type", "bind")
    if kind not in _KINDS:
        raise ValueError(f"--mount=type={kind} is none of {', '.join(_KINDS)}")
    target = given.pop("target", given.pop("destination", given.pop("dst", "")))
    source = given.pop("source", given.pop("src", ""))
    sharing = given.pop("sharing", "shared")
    if sharing not in _SHARING:
        raise ValueError(f"sharing={sharing} is none of {', '.join(_SHARING)}")
    writable = _yes(given.pop("rw", given.pop("readwrite", "false")))
    readonly = _yes(given.pop("ro", given.pop("readonly", str(kind == "bind" and not writable).lower())))
    made = i.Mount(
        kind,
        target,
        source,
        stage=given.pop("from", ""),
        id=given.pop("id", "") or (source if kind == "secret" else target),
        readonly=readonly and not writable,
        required=_yes(given.pop("required", "false")),
        sharing=sharing,
        size=given.pop("size", ""),
        mode=_octal(given.pop("mode", "")),
        uid=_number(given.pop("uid", "0")),
        gid=_number(given.pop("gid", "0")),
        env=given.pop("env", ""),
    )
    if given:
        raise ValueError(f"--mount does not take {next(iter(given))}")
    return made


def nanoseconds(text: str) -> int:
    """A duration as Go writes it: 1m30s; 0 for an empty one."""
    if not text:
        return 0
    if not _DURATION.sub("", text) == "":
        raise ValueError(f"{text} is not a duration", "write 30s, 1m30s or 500ms")
    return sum(int(float(number) * _NANOSECONDS[unit]) for number, unit in _DURATION.findall(text))


def _key_value(part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    return key.strip().lower(), value.strip() if equals else "true"


def _yes(text: str) -> bool:
    if text.lower() not in {"true", "false", "1", "0"}:
        raise ValueError(f"{text} is neither true nor false")
    return text.lower() in {"true", "1"}


def _octal(text: str) -> int | None:
    if not text:
        return None
    try:
        return int(text, 8)
    except ValueError:
        raise ValueError(f"mode={text} is not an octal number") from None


def _number(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text} is not a number")
    return int(text)
