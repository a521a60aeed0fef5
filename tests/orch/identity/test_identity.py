"""Roles, tokens, certificate requests: what agent and control plane must agree on."""

import socket
import ssl
import threading
from pathlib import Path

import pytest

from controlplane.api import authority
from orch.identity import certificate, introduction, roles, token
from orch.identity import request as requests

NOW = 1_790_000_000.0


def test_a_subject_says_who_and_in_which_role() -> None:
    assert roles.caller_of_subject("CN=n1,O=orch:nodes") == roles.Caller("n1", roles.Role.NODE)


@pytest.mark.parametrize("subject", ["", "CN=n1", "CN=n1,O=other", "O=orch:admins", "nonsense"])
def test_a_subject_that_is_not_ours_is_nobody(subject: str) -> None:
    assert roles.caller_of_subject(subject) is None


def test_a_token_survives_being_written_down() -> None:
    made = token.JoinToken.fresh("c1", authority.found("c1", NOW).certificate)
    assert token.JoinToken.parse(f"{made}\n") == made


@pytest.mark.parametrize("text", ["", "orch1", "orch2.a.b.c.d", "orch1.a.b.c", "orch1.a.b..d"])
def test_what_is_not_a_token_is_refused_with_the_way_to_get_one(text: str) -> None:
    with pytest.raises(token.BadToken, match="orchctl node join-token"):
        token.JoinToken.parse(text)


def test_a_token_trusts_only_the_authority_it_was_made_for() -> None:
    ours, other = authority.found("c1", NOW), authority.found("c1", NOW)
    made = token.JoinToken.fresh("c1", ours.certificate)
    assert made.trusts(ours.certificate)
    assert not made.trusts(other.certificate)


def test_only_a_digest_of_the_secret_is_needed_to_check_it() -> None:
    made = token.JoinToken.fresh("c1", authority.found("c1", NOW).certificate)
    assert made.proves(made.secret_digest)
    assert not made.proves(token.JoinToken.fresh("c1", authority.found("c1", NOW).certificate).secret_digest)


def test_a_certificate_says_whose_it_is_and_when_it_is_due() -> None:
    ca = authority.found("c1", NOW)
    who = roles.Caller("n1", roles.Role.NODE)
    key = requests.new_key()
    facts = certificate.read(authority.sign(ca, requests.make(key, "n1"), who, NOW))
    assert facts.caller == who
    assert not facts.is_due_for_renewal(NOW + 86_400)
    assert facts.is_due_for_renewal(facts.not_after - 86_400)


def test_a_renewed_certificate_of_the_same_key_has_the_same_key_digest() -> None:
    ca, key = authority.found("c1", NOW), requests.new_key()
    who = roles.Caller("n1", roles.Role.NODE)
    first, second = (
        certificate.read(authority.sign(ca, requests.make(key, "n1"), who, NOW)) for _ in range(2)
    )
    assert first.key_digest == second.key_digest


def test_the_old_key_proves_itself_and_no_other_does() -> None:
    ca, key = authority.found("c1", NOW), requests.new_key()
    old = authority.sign(ca, requests.make(key, "n1"), roles.Caller("n1", roles.Role.NODE), NOW)
    request = requests.make(requests.new_key(), "n1")
    assert requests.proves(old, request, requests.prove(key, request))
    assert not requests.proves(old, request, requests.prove(requests.new_key(), request))


def test_a_request_for_another_name_is_not_signed() -> None:
    with pytest.raises(authority.BadRequest, match="n2"):
        authority.sign(
            authority.found("c1", NOW),
            requests.make(requests.new_key(), "n2"),
            roles.Caller("n1", roles.Role.NODE),
            NOW,
        )


def test_the_authority_is_fetched_from_the_right_server_and_no_other(tmp_path: Path) -> None:
    ours, other = authority.found("c1", NOW), authority.found("c1", NOW)
    right = token.JoinToken.fresh("c1", ours.certificate)
    with _Server(ours, tmp_path) as port:
        assert certificate.digest(introduction.fetch_ca("127.0.0.1", port, right)) == right.ca_digest
    with _Server(other, tmp_path) as port, pytest.raises(introduction.WrongServer, match="another digest"):
        introduction.fetch_ca("127.0.0.1", port, right)


class _Server:
    """TLS on a loopback port, with the whole chain."""

    def __init__(self, ca: authority.Pair, directory: Path) -> None:
        own = authority.issue(ca, roles.Caller("cp", roles.Role.SERVER), NOW)
        chain, key = directory / "chain", directory / "key"
        chain.write_bytes(own.certificate + ca.certificate)
        key.write_bytes(own.key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(chain, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> int:
        self._thread.start()
        return int(self._listener.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        plain, _ = self._listener.accept()
        with plain, self._context.wrap_socket(plain, server_side=True) as secure:
            secure.recv(1)
