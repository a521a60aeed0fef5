"""Which etcd may keep a cluster's memory."""

import pytest

from controlplane.store import etcd_version, port


@pytest.mark.parametrize("version", ["3.5.0", "3.5.1", "3.5.2", "3.3.27", "2.3.8", "nonsense"])
def test_an_etcd_that_loses_or_corrupts_data_is_refused(version):
    with pytest.raises(port.Refused):
        etcd_version.judge(version)


@pytest.mark.parametrize("version", ["3.4.23", "3.5.3", "3.5.12"])
def test_an_etcd_that_loses_watch_events_is_warned_of(version):
    assert version in (etcd_version.judge(version) or "")


@pytest.mark.parametrize("version", ["3.5.13", "3.5.16", "3.6.0", "3.6.0-rc.1", "4.0.0+build"])
def test_a_sound_etcd_is_taken_without_a_word(version):
    assert etcd_version.judge(version) is None
