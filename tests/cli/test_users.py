"""orchctl user: keys and requests are made here, certificates come from the control plane."""

import stat
import time
from pathlib import Path

from cryptography import x509

from orch.v1 import control_pb2 as pb
from tests.cli.conftest import Run
from tests.cli.control import Control


def reply() -> pb.CertifyUserReply:
    return pb.CertifyUserReply(
        certificate=b"CERTIFICATE", ca=b"CA", addresses=["10.0.0.1:7420"], expires_at=time.time() + 3600
    )


def name_in(request: bytes) -> str:
    return x509.load_pem_x509_csr(request).subject.rfc4514_string()


def test_who_is_let_in_gets_three_files_and_the_words_to_type(
    control: Control, orchctl: Run, tmp_path: Path
) -> None:
    control.answers["CertifyUser"] = reply()

    done = orchctl(
        "user", "add", "ann", "--role", "edit", "--valid-for", "30d", "--out", str(tmp_path / "ann")
    )

    asked = control.last("CertifyUser")
    assert (asked.name, asked.role, asked.valid_for) == ("ann", "edit", 30 * 86400)
    assert name_in(asked.request) == "CN=ann"
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "ann").iterdir()}
    assert files == {"ann.crt": 0o644, "ann-ca.crt": 0o644, "ann.key": 0o600}
    assert done.out == (
        "orchctl context add home --address 10.0.0.1:7420 --ca ann-ca.crt --cert ann.crt --key ann.key\n"
    )
    assert "ann may change all but nodes and users, for 59m" in done.err


def test_a_key_may_stay_where_it_was_made(control: Control, orchctl: Run, tmp_path: Path) -> None:
    control.answers["CertifyUser"] = reply()
    hers, admins = tmp_path / "hers", tmp_path / "admins"

    made = orchctl("user", "request", "ann", "--out", str(hers))
    again = orchctl("user", "request", "ann", "--out", str(hers))
    orchctl("user", "add", "ann", "--role", "view", "--request", str(hers / "ann.csr"), "--out", str(admins))

    assert control.last("CertifyUser").request == (hers / "ann.csr").read_bytes()
    assert stat.S_IMODE((hers / "ann.key").stat().st_mode) == 0o600
    assert not (admins / "ann.key").exists()
    keys = [x509.load_pem_x509_csr(each.out.encode()).public_key() for each in (made, again)]
    assert keys[0] == keys[1], "a second request is for the same key: that renews"


def test_a_role_must_be_named_and_known(control: Control, orchctl: Run) -> None:
    assert orchctl("user", "add", "ann").code == 2
    done = orchctl("user", "add", "ann", "--role", "root")
    assert done.code == 2
    assert "view" in done.err
    assert control.requests == []
