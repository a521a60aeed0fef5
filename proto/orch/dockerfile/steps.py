"""One instruction and the state before it → the state after it, and what must be done for that (pure).

The state is the image configuration so far, and the build arguments. Most instructions only change it; RUN, COPY,
ADD and WORKDIR also ask for a step, which somebody else performs.
"""

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from orch.dockerfile import instructions as i
from orch.dockerfile import words
from orch.dockerfile.problem import DockerfileError
from orch.dockerfile.source import Heredoc
from orch.oci.image_config import HealthCheck, ImageConfig

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")
PROXIES = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)
"""Build arguments that every RUN gets unasked, and that no cache key holds."""


@dataclass(frozen=True, slots=True)
class Execute:
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    user: str
    cwd: str
    mounts: tuple[i.Mount, ...]
    network: str
    script: str = ""
    """A here-document with its own #!: a file to execute, in place of argv."""


@dataclass(frozen=True, slots=True)
class Place:
    """Files into the image."""

    sources: tuple[str, ...]
    written: tuple[tuple[str, str], ...]
    """(name, content) of here-documents."""
    target: str
    """Absolute; ends with a slash when it is a directory for sure."""
    stage: str
    owner: str
    mode: str
    exclude: tuple[str, ...]
    parents: bool
    unpacks: bool
    checksum: str


@dataclass(frozen=True, slots=True)
class MakeDirectory:
    path: str
    user: str


Step = Execute | Place | MakeDirectory


@dataclass(frozen=True, slots=True)
class State:
    config: ImageConfig
    arguments: Mapping[str, str]
    """Those that the stage has declared so far."""
    proxies: Mapping[str, str]
    escape: str = "\\"
    has_command: bool = False
    """Whether this stage has said CMD itself: ENTRYPOINT takes an inherited one away."""

    @property
    def environment(self) -> dict[str, str]:
        return dict(self.config.environment)

    @property
    def scope(self) -> dict[str, str]:
        """What variables stand for: ENV wins over ARG."""
        return {**self.arguments, **self.environment}

    @property
    def shell(self) -> tuple[str, ...]:
        return self.config.shell or DEFAULT_SHELL

    @property
    def cwd(self) -> str:
        return self.config.working_dir or "/"


def begin(config: ImageConfig, given: Mapping[str, str], escape: str = "\\") -> State:
    """Before the first instruction of a stage on an image of this configuration (ONBUILD taken out of it)."""
    start = replace(config, on_build=())
    if "PATH" not in dict(start.environment):
        start = replace(start, environment=(("PATH", DEFAULT_PATH), *start.environment))
    return State(start, {}, {name: value for name, value in given.items() if name in PROXIES}, escape)


def follow(
    state: State, one: i.Placed, given: Mapping[str, str], defaults: Mapping[str, str]
) -> tuple[State, Step | None]:
    """`given` are the build arguments, `defaults` the ARGs before the first FROM."""
    try:
        return _follow(state, one.instruction, given, defaults)
    except words.BadWord as error:
        raise DockerfileError(one.line, str(error)) from error
    except ValueError as error:
        raise DockerfileError(one.line, *map(str, error.args[:2])) from error


def _follow(
    state: State, instruction: i.Instruction, given: Mapping[str, str], defaults: Mapping[str, str]
) -> tuple[State, Step | None]:
    match instruction:
        case i.Run():
            return state, _execute(state, instruction)
        case i.Copy():
            return state, _place(state, instruction)
        case i.Workdir(path):
            inside = posixpath.normpath(posixpath.join(state.cwd, _expander(state)(path)))
            made = MakeDirectory(inside, state.config.user)
            return replace(state, config=replace(state.config, working_dir=inside)), made
        case i.Arg(pairs):
            return replace(
                state, arguments={**state.arguments, **_declared(state, pairs, given, defaults)}
            ), None
        case _:
            return _configured(state, instruction), None


def _configured(state: State, instruction: i.Instruction) -> State:
    """Instructions that only change the configuration."""
    config = state.config
    expand = _expander(state)
    match instruction:
        case i.Env(pairs):
            changed = {**state.environment, **{expand(name): expand(value) for name, value in pairs}}
            return replace(state, config=replace(config, environment=tuple(changed.items())))
        case i.Label(pairs):
            labels = {**dict(config.labels), **{expand(name): expand(value) for name, value in pairs}}
            return replace(state, config=replace(config, labels=tuple(sorted(labels.items()))))
        case i.User(name):
            return replace(state, config=replace(config, user=expand(name)))
        case i.Expose(ports):
            said = words.expand_to_words(ports, state.scope, state.escape)
            every = {*config.exposed_ports, *(port for word in said for port in _ports(word))}
            return replace(state, config=replace(config, exposed_ports=tuple(sorted(every))))
        case i.Volume(paths):
            volumes = {*config.volumes, *(expand(path) for path in paths)}
            return replace(state, config=replace(config, volumes=tuple(sorted(volumes))))
        case i.Cmd(command):
            changed_config = replace(config, command=command.argv(state.shell))
            return replace(state, config=changed_config, has_command=True)
        case i.Entrypoint(command):
            inherited = config.command if state.has_command else ()
            return replace(
                state, config=replace(config, entrypoint=command.argv(state.shell), command=inherited)
            )
        case i.Shell(shell):
            return replace(state, config=replace(config, shell=shell))
        case i.StopSignal(signal):
            return replace(state, config=replace(config, stop_signal=expand(signal)))
        case i.HealthCheck():
            return replace(state, config=replace(config, health_check=_health_check(instruction)))
        case i.OnBuild(text):
            return replace(state, config=replace(config, on_build=(*config.on_build, text)))
        case _:
            raise AssertionError(f"{instruction} is no matter of the configuration")


def _expander(state: State) -> Callable[[str], str]:
    scope = state.scope
    return lambda text: words.expand(text, scope, state.escape)


def _declared(
    state: State,
    pairs: tuple[tuple[str, str | None], ...],
    given: Mapping[str, str],
    defaults: Mapping[str, str],
) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, default in pairs:
        scope = {**state.scope, **found}
        if name in given:
            found[name] = given[name]
        elif default is not None:
            found[name] = words.expand(default, scope, state.escape)
        elif name in defaults:
            found[name] = defaults[name]
    return found


def _execute(state: State, run: i.Run) -> Execute:
    if run.is_insecure:
        raise ValueError("--security=insecure is not supported: a build gets no privileges")
    environment = {**state.proxies, **state.arguments, **state.environment}
    argv, script = run.command.argv(state.shell), ""
    text = run.command.shell
    if run.heredocs and text is not None:
        body = run.heredocs[0].body
        if len(run.heredocs) == 1 and len(words.split(text, state.escape)) == 1:
            script = body if body.startswith("#!") else ""
            argv = (*state.shell, body)
        else:
            documents = "".join(f"{doc.body}{doc.name}\n" for doc in run.heredocs)
            argv = (*state.shell, f"{text}\n{documents}")
    return Execute(
        argv,
        tuple(environment.items()),
        state.config.user,
        state.cwd,
        tuple(_placed_mount(state, mount) for mount in run.mounts if mount.kind != "ssh" or mount.required),
        run.network,
        script,
    )


def _placed_mount(state: State, mount: i.Mount) -> i.Mount:
    """Its variables expanded, its target below WORKDIR; a cache that has no id is known by its target."""
    expand = _expander(state)
    if mount.kind == "ssh" and mount.required:
        raise ValueError("--mount=type=ssh is not supported", "give the key as a secret: --mount=type=secret")
    has_place = mount.target or mount.kind not in {"secret", "ssh"}
    target = posixpath.normpath(posixpath.join(state.cwd, expand(mount.target))) if has_place else ""
    if target == "/":
        raise ValueError(
            f"--mount=type={mount.kind} would hide the whole image", "give it a target, or set WORKDIR"
        )
    identity = target if mount.kind == "cache" and mount.id == mount.target else expand(mount.id)
    return replace(mount, target=target, source=expand(mount.source), id=identity)


def _place(state: State, copy: i.Copy) -> Place:
    expand = _expander(state)
    documents = {doc.name for doc in copy.heredocs}
    plain = [source for source in copy.sources if not _names_a_document(source, documents)]
    target = expand(copy.target)
    absolute = posixpath.normpath(posixpath.join(state.cwd, target))
    if (target.endswith(("/", "/.")) or target == "." or not target) and absolute != "/":
        absolute += "/"
    if len(copy.sources) > 1 and not target.endswith("/") and target not in {".", ".."}:
        raise ValueError(f"{target} gets several sources, so it is a directory", f"write {target}/")
    return Place(
        tuple(expand(source) for source in plain),
        tuple((doc.name, _written(doc, state)) for doc in copy.heredocs),
        absolute,
        copy.stage,
        expand(copy.owner),
        expand(copy.mode),
        copy.exclude,
        copy.parents,
        copy.unpacks,
        expand(copy.checksum),
    )


def _names_a_document(source: str, documents: set[str]) -> bool:
    return "<<" in source and source.partition("<<")[2].lstrip("-").strip("'\"") in documents


def _written(doc: Heredoc, state: State) -> str:
    return words.expand_body(doc.body, state.scope) if doc.expands else doc.body


def _health_check(check: i.HealthCheck) -> HealthCheck:
    if check.command is None:
        return HealthCheck(("NONE",))
    shell = check.command.shell
    test = ("CMD", *check.command.words) if shell is None else ("CMD-SHELL", shell)
    return HealthCheck(
        test,
        check.interval_ns,
        check.timeout_ns,
        check.start_period_ns,
        check.start_interval_ns,
        check.retries,
    )


def _ports(word: str) -> Iterator[str]:
    """`8000-8002/udp` → each port with its protocol."""
    numbers, _, protocol = word.partition("/")
    first, _, last = numbers.partition("-")
    last = last or first
    known = (protocol or "tcp").lower()
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < 1 << 16):
        raise ValueError(f"{word} is no port", "write 80, 80/udp or 8000-8005")
    if known not in {"tcp", "udp", "sctp"}:
        raise ValueError(f"{word}: {protocol} is none of tcp, udp, sctp")
    for port in range(int(first), int(last) + 1):
        yield f"{port}/{known}"
