"""Lines → instructions (pure). The first thing wrong is told with its line."""

import json
from collections.abc import Callable

from orch.dockerfile import flags, source, words
from orch.dockerfile import instructions as i
from orch.dockerfile.flags import Flags
from orch.dockerfile.problem import DockerfileError, nearest
from orch.dockerfile.source import Line


def parse(text: str) -> tuple[i.Placed, ...]:
    """The instructions in order; DockerfileError names the line."""
    read = source.read(text)
    if not read.lines:
        raise DockerfileError(0, "holds no instruction", "the first one is FROM")
    return tuple(one(line, read.escape) for line in read.lines)


def one(line: Line, escape: str = "\\") -> i.Placed:
    """A single instruction; also what ONBUILD left for later."""
    word, *others = line.text.split(None, 1)
    rest = others[0] if others else ""
    name = word.upper()
    reader = _READERS.get(name)
    if reader is None:
        raise DockerfileError(line.number, f"{word} is not an instruction", nearest(name, _READERS))
    try:
        instruction = _read(reader, name, rest.strip(), line, escape)
    except ValueError as error:
        hint = error.args[1] if len(error.args) > 1 else ""
        raise DockerfileError(line.number, str(error.args[0]), hint) from error
    return i.Placed(line.number, line.text, instruction)


def _read(
    reader: "Callable[[_Text], i.Instruction]", name: str, rest: str, line: Line, escape: str
) -> i.Instruction:
    given, rest = flags.take(rest, name)
    if not rest:
        raise ValueError(f"{name} says nothing")
    return reader(_Text(rest, given, line, escape))


class _Text:
    """What an instruction says behind its flags."""

    __slots__ = ("escape", "flags", "line", "rest")

    def __init__(self, rest: str, given: Flags, line: Line, escape: str) -> None:
        self.rest = rest
        self.flags = given
        self.line = line
        self.escape = escape

    def words(self) -> list[str]:
        return words.split(self.rest, self.escape)

    def json(self) -> tuple[str, ...] | None:
        """The words of the form ["a", "b"]; None for any other."""
        if not self.rest.startswith("["):
            return None
        try:
            found = json.loads(self.rest)
        except ValueError:
            return None
        if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
            raise ValueError("a list in brackets holds only strings in double quotes")
        return tuple(found)

    def command(self) -> i.Command:
        listed = self.json()
        return i.Command(shell=self.rest) if listed is None else i.Command(listed)


def _from(text: _Text) -> i.From:
    said = text.words()
    if len(said) == 1:
        return i.From(said[0], platform=text.flags.one("platform"))
    if len(said) == 3 and said[1].upper() == "AS":
        name = said[2].lower()
        if not name[0].isalpha() or not all(letter.isalnum() or letter in "-_." for letter in name):
            raise ValueError(
                f"{said[2]} is no name for a stage", "letters, digits, -, _ and ., a letter first"
            )
        return i.From(said[0], name, text.flags.one("platform"))
    raise ValueError("FROM takes an image, and perhaps a name: FROM image AS name")


def _run(text: _Text) -> i.Run:
    heredocs = text.line.heredocs
    mounts = tuple(flags.mount(words_) for words_ in text.flags.all("mount"))
    network = text.flags.one("network") or "default"
    if network not in {"default", "none", "host"}:
        raise ValueError(f"--network={network} is none of default, none, host")
    security = text.flags.one("security")
    if security not in {"", "sandbox", "insecure"}:
        raise ValueError(f"--security={security} is neither sandbox nor insecure")
    return i.Run(text.command(), mounts, network, security == "insecure", heredocs)


def _copy(text: _Text, *, unpacks: bool = False) -> i.Copy:
    said = text.json() or tuple(text.words())
    name = "ADD" if unpacks else "COPY"
    if len(said) < 2:
        raise ValueError(f"{name} takes at least one source, and where it goes")
    *sources, target = said
    return i.Copy(
        tuple(sources),
        target,
        stage=text.flags.one("from"),
        owner=text.flags.one("chown"),
        mode=text.flags.one("chmod"),
        exclude=tuple(text.flags.all("exclude")),
        parents=text.flags.yes("parents"),
        unpacks=unpacks,
        checksum=text.flags.one("checksum"),
        heredocs=text.line.heredocs,
    )


def _add(text: _Text) -> i.Copy:
    return _copy(text, unpacks=True)


def _pairs(text: _Text, name: str) -> i.Pairs:
    said = text.words()
    if "=" not in said[0]:  # the old form: one name, and the rest of the line is its value
        value = text.rest.removeprefix(said[0]).lstrip()
        if not value:
            raise ValueError(f"{name} {said[0]} has no value", f"write {name} {said[0]}=value")
        return ((said[0], value),)
    pairs = [word.partition("=") for word in said]
    if broken := next((key for key, equals, _ in pairs if not equals or not key), None):
        raise ValueError(
            f"{broken} has no value", f"write {broken}=value; a value with spaces goes in quotes"
        )
    return tuple((key, value) for key, _, value in pairs)


def _arg(text: _Text) -> i.Arg:
    pairs = [word.partition("=") for word in text.words()]
    if any(not name for name, _, _ in pairs):
        raise ValueError("ARG takes a name: ARG name=default")
    return i.Arg(tuple((name, value if equals else None) for name, equals, value in pairs))


def _one_word(text: _Text) -> str:
    if len(text.words()) != 1:
        raise ValueError(f"takes exactly one word, not {text.rest}")
    return text.rest


def _shell(text: _Text) -> i.Shell:
    listed = text.json()
    if not listed:
        raise ValueError("SHELL takes a list", 'write SHELL ["/bin/bash", "-c"]')
    return i.Shell(listed)


def _healthcheck(text: _Text) -> i.HealthCheck:
    kind, _, rest = text.rest.partition(" ")
    if kind.upper() == "NONE":
        return i.HealthCheck(None)
    if kind.upper() != "CMD" or not rest.strip():
        raise ValueError("HEALTHCHECK takes CMD and a command, or NONE")
    inner = _Text(rest.strip(), text.flags, text.line, text.escape)
    retries = text.flags.one("retries") or "0"
    if not retries.isdecimal():
        raise ValueError(f"--retries={retries} is not a number")
    return i.HealthCheck(
        inner.command(),
        flags.nanoseconds(text.flags.one("interval")),
        flags.nanoseconds(text.flags.one("timeout")),
        flags.nanoseconds(text.flags.one("start-period")),
        flags.nanoseconds(text.flags.one("start-interval")),
        int(retries),
    )


def _onbuild(text: _Text) -> i.OnBuild:
    inner = one(source.Line(text.line.number, text.rest, text.line.heredocs), text.escape)
    forbidden = isinstance(inner.instruction, i.From | i.OnBuild)
    if forbidden:
        raise ValueError(f"ONBUILD {text.rest.split()[0].upper()} is not allowed")
    bodies = "".join(f"\n{doc.body}{doc.name}" for doc in text.line.heredocs)
    return i.OnBuild(text.rest + bodies)


_READERS: dict[str, Callable[[_Text], i.Instruction]] = {
    "FROM": _from,
    "RUN": _run,
    "COPY": _copy,
    "ADD": _add,
    "ENV": lambda text: i.Env(_pairs(text, "ENV")),
    "LABEL": lambda text: i.Label(_pairs(text, "LABEL")),
    "MAINTAINER": lambda text: i.Label((("maintainer", f"'{text.rest}'"),)),
    "ARG": _arg,
    "WORKDIR": lambda text: i.Workdir(text.rest),
    "USER": lambda text: i.User(_one_word(text)),
    "EXPOSE": lambda text: i.Expose(text.rest),
    "VOLUME": lambda text: i.Volume(text.json() or tuple(text.words())),
    "CMD": lambda text: i.Cmd(text.command()),
    "ENTRYPOINT": lambda text: i.Entrypoint(text.command()),
    "SHELL": _shell,
    "STOPSIGNAL": lambda text: i.StopSignal(_one_word(text)),
    "HEALTHCHECK": _healthcheck,
    "ONBUILD": _onbuild,
}
