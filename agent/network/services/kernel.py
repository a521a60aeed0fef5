"""The one that speaks: our table in the kernel, read, written and kept.

Blocking; one thread at a time.
"""

import errno
import logging
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.network import nfnetlink, rules
from agent.network.attachment import NetworkError
from agent.network.services import difference, drawing, flows, messages
from agent.network.services.difference import Difference, Step
from agent.network.services.flows import Stale
from agent.network.services.groups import Element, Group, Key, Value

NFT_TIMEOUT_SECONDS = 20
_LOCALNET = Path("/proc/sys/net/ipv4/conf/all/route_localnet")
_WAS_CLOSED = "localnet-was-closed"
"""A chain without use: it remembers that we were the one who changed that setting."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Held:
    """What the kernel has of ours."""

    table: str
    chains: frozenset[str]
    elements: Mapping[Element, Value]


class Kernel:
    """The packet filter of one network namespace: that of the thread which first asks for something."""

    def __init__(self, place: rules.Place) -> None:
        """Changes nothing yet."""
        self._place = place
        self._socket: nfnetlink.Socket | None = None
        self._was_closed = False
        """Localhost was, before we came."""

    def adopt(self) -> Held:
        """Our rules with whatever elements they have, written first where they are missing or of another version."""
        chains = self._chains()
        self._was_closed |= any(_WAS_CLOSED in names for names in chains.values())
        mark = rules.mark(self._place)
        current = [table for table, names in chains.items() if mark in names]
        others = [table for table in chains if table not in current]
        if current:
            self._remove([*current[1:], *others])
            return self._read(current[0], chains[current[0]])
        old = self._read(others[0], chains[others[0]]) if others else None
        table = next(each for each in rules.TABLES if old is None or each != old.table)
        run_nft(rules.whole(table, self._place))
        memory = [messages.new_chain(table, _WAS_CLOSED)] if self._was_closed else []
        rest = [*drawing.remembering(table), messages.new_chain(table, mark), *memory]
        self._open().transact(*messages.transaction(rest))
        if old is not None:
            self._carry_over(old, table)
            self._remove([old.table])
        return self._read(table, self._chains()[table])

    def generation(self) -> int:
        """Another one whenever anybody has changed anything of the packet filter."""
        return messages.read_generation(self._open().answer(messages.ask_generation()))

    def is_whole(self, table: str) -> bool:
        """Whether the rules are still there."""
        return rules.mark(self._place) in self._chains().get(table, ())

    def change(self, table: str, step: Step) -> None:
        """All of it or nothing. Raises OSError where the table is not as it was thought to be."""
        wishes = difference.transaction(table, step)
        if wishes:
            self._open().transact(*messages.transaction(wishes))

    def let_localhost_out(self, table: str) -> None:
        """`curl localhost:PORT` may be led to another node; what comes from there is kept out of localhost."""
        if _LOCALNET.read_text(encoding="ascii").strip() == "0":
            self._was_closed = True
            self._open().transact(*messages.transaction([messages.new_chain(table, _WAS_CLOSED)]))
            _LOCALNET.write_text("1", encoding="ascii")

    def forget_clients(self, table: str, wanted: Mapping[Key, Group]) -> None:
        """Who stayed with an endpoint that is behind it no more is to draw another."""
        try:
            clients = [
                each
                for body in self._open().dump(messages.ask_elements(table, drawing.CLIENTS))
                for each in messages.read_elements(body)
            ]
        except nfnetlink.RefusedError as refusal:
            raise NetworkError(f"the clients that stay with a task cannot be listed: {refusal}") from refusal
        for key, endpoint in clients:
            if isinstance(endpoint, bytes) and flows.is_astray(key, endpoint, wanted):
                self._forget_client(table, key)

    def _forget_client(self, table: str, key: bytes) -> None:
        """One that has gone by itself meanwhile counts as forgotten."""
        try:
            wishes = list(messages.lost_elements(table, drawing.CLIENTS, [key]))
            self._open().transact(*messages.transaction(wishes))
        except nfnetlink.RefusedError as refusal:
            if refusal.errno != errno.ENOENT:
                raise

    def forget_flows(self, stale: Stale) -> None:
        """After the change: until then a packet may bring a flow back."""
        for question in flows.questions(stale):
            found = [flow for body in self._open().dump(question) if (flow := flows.read(body))]
            doomed = [flows.forget(flow) for flow in found if stale.has(flow)]
            self._open().ask(doomed, forgiven=frozenset({errno.ENOENT}))

    def remove(self) -> None:
        """Nothing of ours stays."""
        if any(_WAS_CLOSED in chains for chains in self._chains().values()):
            _LOCALNET.write_text("0", encoding="ascii")
        self._remove(rules.TABLES)
        self.close()

    def close(self) -> None:
        """Leaves everything in place; idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _open(self) -> nfnetlink.Socket:
        if self._socket is None:
            self._socket = nfnetlink.Socket()
        return self._socket

    def _chains(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for body in self._open().dump(messages.ask_chains()):
            table, name = messages.read_chain(body)
            if table in rules.TABLES:
                found.setdefault(table, set()).add(name)
        return found

    def _read(self, table: str, chains: set[str]) -> Held:
        held: dict[Element, Value] = {}
        for name in (*rules.DOOR_MAPS, *rules.SERVICE_MAPS, difference.GONE):
            try:
                bodies = self._open().dump(messages.ask_elements(table, name))
            except nfnetlink.RefusedError as refusal:
                if refusal.errno != errno.ENOENT:
                    raise
                continue  # rules of another version have other maps
            for body in bodies:
                held.update(((name, key), value) for key, value in messages.read_elements(body))
        return Held(table, frozenset(chains), held)

    def _carry_over(self, old: Held, table: str) -> None:
        """So that nobody is refused until we are told again of all services."""
        chains = [made for name in sorted(old.chains) if (made := difference.parsed(name))]
        lasting = {each: value for each, value in old.elements.items() if each[0] != difference.GONE}
        try:
            self.change(table, Step(Difference(new=lasting), chains))
        except OSError as refusal:
            _log.warning("the packet rules of another version of orch could not be taken over: %s", refusal)

    def _remove(self, tables: Sequence[str]) -> None:
        if tables:
            run_nft(rules.removal(tables))


def run_nft(text: str) -> None:
    """One transaction in nft's own words. Raises NetworkError."""
    program = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise NetworkError("virtual addresses and published ports need nft: install the package nftables")
    try:
        done = subprocess.run(
            [program, "-f", "-"],
            input=text.encode(),
            capture_output=True,
            timeout=NFT_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NetworkError(f"nft did not answer within {NFT_TIMEOUT_SECONDS} s") from error
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip()
        raise NetworkError(
            f"nft refused the packet rules of this node; nft 0.9.8 and Linux 5.9 or later are needed, here are "
            f"{_version(program)} and Linux {os.uname().release}: {words}"
        )


def _version(program: str) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.split("(")[0].strip() or "an nft that does not tell its version"
