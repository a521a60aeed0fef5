"""How containers of the shim begin, from the plan to the moment when they run, or leave nothing."""

import os
import time

from agent.linux import syscalls
from agent.runtime import cgroup_files, entries, exits, handshake, journal, keeper, kept, removals, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Packet = dict[str, Any]
    Reply = Callable[..., None]

_SIGKILL = 9


class Starts:
    def __init__(self, keeper: "keeper.Keeper", removals: "removals.Removals") -> None:
        self.keeper = keeper
        self.removals = removals

    def launch(self, plan: "Packet", reply: "Reply") -> None:
        name = plan["container"]
        if name in self.keeper.containers:
            reply({"error": ["journal", f"{name} exists already; a name is used once"]})
            return
        sandbox_group = f"{self.keeper.cgroup_root}/{plan['sandbox']}"
        path = self.keeper.journal.path(name)
        root = f"{self.keeper.state_dir}/roots/{name}"
        plan |= {
            "group": f"{sandbox_group}/{name}",
            "stdout": f"{path}/stdout",
            "stderr": f"{path}/stderr",
            "stdin": f"{path}/stdin" if plan.get("stdin") else "",
            "root": root,
        }
        container = kept.Container(entries.made(plan, self.keeper.boot_id))
        container.reply = reply
        container.memory_limit = plan["memory_limit"]
        self.keeper.add(container)
        try:
            self._prepare(container, plan)
            birth = self.keeper.midwife.launch(plan)
        except Exception as error:
            self.discard(container, _sentence(error))
            return
        container.birth = birth
        container.pidfd = birth.pidfd
        container.entry["pid"] = birth.pid
        container.entry["start_time"] = journal.start_time(birth.pid)
        self.keeper.loop.watch(birth.sock.fileno(), lambda _: self._hear_birth(container))
        try:
            birth.go(self._complete(container, plan))
        except Exception as error:  # whatever it is, nobody may wait for the word for ever
            birth.failure = _sentence(error)
            syscalls.kill_process(birth.pidfd, _SIGKILL)

    def _complete(self, container: kept.Container, plan: "Packet") -> list[int]:
        """What the process needs only when it has its root, made meanwhile. The doors of its cgroup.

        Its pid goes into the journal: nobody could find it again without.
        """
        self._write_down(container.entry)
        self.keeper.cgroups.complete(plan["group"], plan["limits"])
        return self.keeper.cgroups.doors(plan["group"], born=plan["born"])

    def _write_down(self, entry: "Packet") -> None:
        try:
            self.keeper.journal.write(entry)
        except OSError as error:
            where = self.keeper.journal.path(entry["container"])
            raise handshake.failed("prepare", f"write down {where}", error) from None

    def _prepare(self, container: kept.Container, plan: "Packet") -> None:
        """Everything that must be there before the process is."""
        path = self.keeper.journal.path(plan["container"])
        os.mkdir(path, 0o711)
        self._write_down(container.entry)
        if plan["stdio"] == "fifos":
            self._make_fifos(path, plan)
            container.fifos = self.keeper.hold(plan["container"])
        os.mkdir(plan["root"], 0o700)
        os.mkdir(f"{plan['root']}/upper", 0o755)
        os.chown(f"{plan['root']}/upper", *userns.outside(plan, 0, 0))
        os.mkdir(f"{plan['root']}/work", 0o700)
        self.keeper.cgroups.begin(plan["group"], plan["limits"])

    def _make_fifos(self, path: str, plan: "Packet") -> None:
        for name in ("stdout", "stderr", *(["stdin"] if plan["stdin"] else [])):
            os.mkfifo(f"{path}/{name}", 0o600)
            owner = userns.outside(plan, plan["uid"], plan["gid"])
            if owner != (0, 0):
                os.chown(f"{path}/{name}", *owner)  # so that it may open /dev/stdout and its like again

    def _hear_birth(self, container: kept.Container) -> None:
        birth = container.birth
        if birth is None:
            return
        is_over = birth.hear()
        if birth.hooks_are_due and not container.hooks:
            self.keeper.hooks.run(container, ("prestart", "createRuntime"), "creating", self._hooked)
        if not is_over:
            return
        self.keeper.loop.forget(birth.sock.fileno())
        birth.sock.close()
        container.birth = None
        container.terminal = birth.terminal
        failure = birth.outcome()
        if failure:
            failure = self._explained(container, failure)
        else:
            self.keeper.attach(container)  # not before: of a start that failed there is no end to tell
            failure = self._runs(container)
        if failure:
            exits.when_dead(self.keeper.loop, container.pidfd, lambda: self.discard(container, failure))
            return
        entry = container.entry
        if "poststart" in entry["hooks"]:
            self.keeper.hooks.run(container, ("poststart",), "running", self._started)
        else:
            self._started(container, [])

    def _runs(self, container: kept.Container) -> list[str]:
        """What a shim after us takes for half made must not run on; so it has to be written down."""
        entry = container.entry
        running = {**entry, "state": journal.RUNNING, "started_at": time.time()}
        try:
            self._write_down(running)
        except handshake.StepFailed as failure:
            return _sentence(failure)
        entry.update(running)
        return []

    def _explained(self, container: kept.Container, failure: list[str]) -> list[str]:
        """Who was killed could not say why; its cgroup may know."""
        if failure[0] != "start" or not self.keeper.cgroups.oom_kills(container.entry["group"]):
            return failure
        limit = f"memory limit {container.memory_limit / (1 << 20):g}Mi"
        why = "was used up while the container was set up; the runtime alone needs about 2Mi, raise it"
        return ["start", f"{limit} {why}"]

    def _started(self, container: kept.Container, _: list[str]) -> None:
        reply, container.reply = container.reply, None
        if reply:
            reply({"entry": entries.told(container.entry)})
        self.keeper.watch_end(container)

    def _hooked(self, container: kept.Container, failure: list[str]) -> None:
        birth = container.birth
        if birth is None:
            return  # it has been killed meanwhile
        if failure:
            birth.failure = failure
            syscalls.kill_process(birth.pidfd, _SIGKILL)
        else:
            birth.hooked()

    def discard(self, container: kept.Container, failure: list[str]) -> None:
        """A start that failed leaves nothing; only then is it reported."""

        def done(problem: "Packet") -> None:
            self.keeper.forget(container)
            self.keeper.cgroups.remove(os.path.dirname(container.entry["group"]))
            self.removals.after(container, {"error": failure, **problem}, container.reply)

        self.removals.group(container.entry["group"], done)


def _sentence(error: Exception) -> list[str]:
    """Step and message."""
    if isinstance(error, handshake.StepFailed):
        return [error.step, error.message]
    if not isinstance(error, OSError):
        return ["shim", f"{type(error).__name__}: {error}"]
    step = "cgroup" if isinstance(error, cgroup_files.Refused) else "prepare"
    failed = handshake.failed(step, str(error.filename or error.args[0]), error)
    return [failed.step, failed.message]
