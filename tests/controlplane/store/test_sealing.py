"""Secrets in envelopes."""

import stat

import pytest

from controlplane.store import sealing


def test_what_was_sealed_is_opened_and_is_not_readable_before(tmp_path):
    keys = sealing.load_or_create(tmp_path / "keys")

    envelope = keys.seal(b"hunter2", "/orch/secrets/default/db/1")

    assert b"hunter2" not in envelope
    assert keys.open(envelope, "/orch/secrets/default/db/1") == b"hunter2"
    assert keys.seal(b"hunter2", "/x") != keys.seal(b"hunter2", "/x")


def test_an_envelope_moved_to_another_place_does_not_open(tmp_path):
    keys = sealing.load_or_create(tmp_path / "keys")

    with pytest.raises(sealing.Unsealable, match="another place"):
        keys.open(keys.seal(b"s", "/a"), "/b")


@pytest.mark.parametrize("position", [0, 1, 5, -1])
def test_a_changed_envelope_does_not_open(tmp_path, position):
    keys = sealing.load_or_create(tmp_path / "keys")
    envelope = bytearray(keys.seal(b"secret", "/a"))
    envelope[position] ^= 1

    with pytest.raises(sealing.Unsealable):
        keys.open(bytes(envelope), "/a")
    with pytest.raises(sealing.Unsealable):
        keys.open(b"", "/a")


def test_the_key_file_is_its_owners_alone(tmp_path):
    path = tmp_path / "keys"
    sealing.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    path.chmod(0o640)

    with pytest.raises(sealing.BadKeyFile, match="chmod 600"):
        sealing.load(path)


def test_after_a_new_key_old_envelopes_open_and_new_ones_use_it(tmp_path):
    path = tmp_path / "keys"
    before = sealing.load_or_create(path)
    old = before.seal(b"s", "/a")

    after = sealing.add_key(path)
    new = after.seal(b"s", "/a")

    assert after.open(old, "/a") == after.open(new, "/a") == b"s"
    assert (after.is_current(old), after.is_current(new)) == (False, True)
    with pytest.raises(sealing.Unsealable, match="not in the key file"):
        before.open(new, "/a")


def test_the_same_file_gives_the_same_keys_again(tmp_path):
    first = sealing.load_or_create(tmp_path / "keys")

    assert sealing.load_or_create(tmp_path / "keys").open(first.seal(b"s", "/a"), "/a") == b"s"


@pytest.mark.parametrize("content", ["", "nonsense\n", "00000000:AAAA\n", "zz:AAAA\n"])
def test_a_broken_key_file_is_named(tmp_path, content):
    path = tmp_path / "keys"
    path.write_text(content)
    path.chmod(0o600)

    with pytest.raises(sealing.BadKeyFile, match=str(path)):
        sealing.load(path)


def test_keys_do_not_show_in_logs(tmp_path):
    keys = sealing.load_or_create(tmp_path / "keys")

    assert keys.keys[keys.newest].hex() not in repr(keys)
