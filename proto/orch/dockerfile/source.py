"""Text of a Dockerfile → its lines: directives, comments, continuations and here-documents (pure)."""

import re
from dataclasses import dataclass

from orch.dockerfile import words
from orch.dockerfile.problem import DockerfileError

_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES = {"syntax", "escape", "check"}
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]+)")
_TAKES_HEREDOCS = re.compile(r"\s*(?:ONBUILD\s+)?(?:RUN|COPY|ADD)\s", re.IGNORECASE)
_LARGEST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A file written in place: `<<EOF` and the lines up to EOF."""

    name: str
    body: str
    expands: bool
    """Whether variables in it stand for their values: not when its name was quoted."""


@dataclass(frozen=True, slots=True)
class Line:
    """One instruction with its continuations joined."""

    number: int
    """1-based, where it begins."""
    text: str
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    escape: str
    syntax: str
    """What `# syntax=` asked for; kept for people, orch reads the language itself."""
    lines: tuple[Line, ...]


def read(text: str) -> Source:
    """The lines; DockerfileError when a directive or a here-document is wrong."""
    if len(text) > _LARGEST_BYTES:
        raise DockerfileError(0, f"has {len(text)} characters; {_LARGEST_BYTES} is the limit")
    raw = text.removeprefix("\ufeff").splitlines()
    directives, start = _directives(raw)
    escape = directives.get("escape", "\\")
    if escape not in {"\\", "`"}:
        raise DockerfileError(1, f"escape={escape} is neither \\ nor `")
    lines: list[Line] = []
    position = start
    while position < len(raw):
        line, position = _line(raw, position, escape)
        if line:
            lines.append(line)
    return Source(escape, directives.get("syntax", ""), tuple(lines))


def _directives(raw: list[str]) -> tuple[dict[str, str], int]:
    """They stand at the very top; the first line that is none ends them."""
    found: dict[str, str] = {}
    for number, line in enumerate(raw):
        match = _DIRECTIVE.fullmatch(line.strip())
        name = match.group(1).lower() if match else ""
        if not match or name not in _DIRECTIVES:
            return found, number
        if name in found:
            raise DockerfileError(number + 1, f"the directive {name} stands here twice")
        found[name] = match.group(2)
    return found, len(raw)


def _line(raw: list[str], position: int, escape: str) -> tuple[Line | None, int]:
    """The instruction that begins at or after `position`, and where the next may begin."""
    continued = re.compile(rf"{re.escape(escape)}[ \t]*$")
    number = position + 1
    parts: list[str] = []
    while position < len(raw):
        line = raw[position]
        position += 1
        if line.lstrip().startswith("#") or not line.strip():
            if parts:
                continue  # comments and empty lines between the parts of an instruction are left out
            return None, position
        joint = continued.search(line)
        parts.append(line[: joint.start()] if joint else line)
        if not joint:
            break
    text = "".join([parts[0].lstrip(), *parts[1:]]).strip() if parts else ""
    heredocs, position = _heredocs(raw, position, text, escape, number)
    return (Line(number, text, heredocs) if text else None), position


def _heredocs(
    raw: list[str], position: int, text: str, escape: str, number: int
) -> tuple[tuple[Heredoc, ...], int]:
    if "<<" not in text or not _TAKES_HEREDOCS.match(text):
        return (), position
    found: list[Heredoc] = []
    for word in words.split(text, escape):
        match = _HEREDOC.fullmatch(word)
        if not match:
            continue
        quoted = match.group(3)
        name = quoted.strip("'\"")
        body, position = _body(raw, position, name, bool(match.group(2)), number)
        found.append(Heredoc(name, body, expands=quoted == name))
    return tuple(found), position


def _body(raw: list[str], position: int, name: str, strips_tabs: bool, number: int) -> tuple[str, int]:
    lines: list[str] = []
    for at in range(position, len(raw)):
        line = raw[at].lstrip("\t") if strips_tabs else raw[at]
        if line == name:
            return "".join(f"{one}\n" for one in lines), at + 1
        lines.append(line)
    raise DockerfileError(
        number, f"the here-document {name} does not end", f"a line that is just {name} ends it"
    )
