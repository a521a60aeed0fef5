"""Limits as properties of a unit: systemd must know the same as the files of the cgroup."""

import pytest

from agent.orchrun import unit_properties
from agent.orchrun.errors import Failed
from agent.runtime import device_rules, limits_v1, limits_v2

NEW = 252
NONE = unit_properties.INFINITY


def test_limits_of_v2_are_told_in_systemds_words() -> None:
    resources = {
        "memory": {"limit": 64 << 20, "swap": 80 << 20, "reservation": 1 << 20},
        "cpu": {"shares": 512, "quota": 25_000, "period": 50_000, "cpus": "0-2,8", "mems": "0"},
        "pids": {"limit": 20},
        "blockIO": {"weight": 1000, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1024}]},
        "unified": {"memory.high": "max", "memory.oom.group": "1"},
    }

    assert dict(unit_properties.of(limits_v2.rows(resources), NEW)) == {
        "MemoryMax": ("t", 64 << 20),
        "MemorySwapMax": ("t", 16 << 20),
        "MemoryLow": ("t", 1 << 20),
        "MemoryHigh": ("t", NONE),
        "CPUWeight": ("t", limits_v2.weight(512)),
        "CPUQuotaPerSecUSec": ("t", 500_000),
        "CPUQuotaPeriodUSec": ("t", 50_000),
        "AllowedCPUs": ("ay", [0b111, 0b1]),
        "AllowedMemoryNodes": ("ay", [1]),
        "TasksMax": ("t", 20),
        "IOWeight": ("t", 10_000),
        "IOReadBandwidthMax": ("a(st)", [("/dev/block/8:0", 1024)]),
    }


def test_limits_of_v1_are_told_in_systemds_older_words() -> None:
    resources = {
        "memory": {"limit": 64 << 20, "swap": 64 << 20},
        "cpu": {"shares": 512, "quota": 10_000, "period": 50_000, "cpus": "0"},
        "pids": {"limit": -1},
        "blockIO": {"weight": 100},
    }

    assert dict(unit_properties.of(limits_v1.rows(resources), NEW)) == {
        "MemoryLimit": ("t", 64 << 20),
        "CPUShares": ("t", 512),
        "CPUQuotaPerSecUSec": ("t", 200_000),
        "CPUQuotaPeriodUSec": ("t", 50_000),
        "TasksMax": ("t", NONE),
        "BlockIOWeight": ("t", 100),
        "AllowedCPUs": ("ay", [1]),
    }


def test_no_limit_is_a_limit_too() -> None:
    resources = {"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}

    found = dict(unit_properties.of(limits_v2.rows(resources), NEW))

    assert [found[name] for name in ("MemoryMax", "MemorySwapMax", "CPUQuotaPerSecUSec", "TasksMax")] == [
        ("t", NONE)
    ] * 4


def test_a_quota_is_rounded_up_to_whole_percents() -> None:
    found = dict(unit_properties.of([["cpu", "cpu.max", "33333 100000", ""]], NEW))

    assert found["CPUQuotaPerSecUSec"] == ("t", 340_000)


def test_an_idle_group_has_no_weight() -> None:
    rows = list(limits_v2.rows({"cpu": {"idle": 1, "shares": 512}}))

    assert unit_properties.of(rows, 252) == [("CPUWeight", ("t", 0))]
    assert unit_properties.of(rows, 251) == []


def test_an_old_systemd_is_not_told_what_it_does_not_know() -> None:
    rows = list(limits_v2.rows({"cpu": {"quota": 50_000, "cpus": "0"}}))

    assert unit_properties.of(rows, 241) == [("CPUQuotaPerSecUSec", ("t", 500_000))]


def test_device_rules_of_v1_are_told_with_drivers_by_name() -> None:
    known = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n136 never\n"

    found = dict(unit_properties.of_devices(device_rules.v1_rows(device_rules.ordered(())), known))

    assert found["DevicePolicy"] == ("s", "strict")
    kind, allowed = found["DeviceAllow"]
    assert kind == "a(ss)"
    assert ("char-*", "m") in allowed
    assert ("/dev/char/1:3", "rwm") in allowed
    assert [name for name, access in allowed if access == "rwm" and name.startswith("char-")] == ["char-pts"]


def test_where_every_device_is_allowed_systemd_is_told_nothing() -> None:
    rows = device_rules.v1_rows(device_rules.ordered([{"allow": True, "type": "a", "access": "rwm"}]))

    assert unit_properties.of_devices(rows, "") == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", ("b", True)),
        ("'inactive-or-failed'", ("s", "inactive-or-failed")),
        ("uint64 90000000", ("t", 90_000_000)),
        ("-5", ("i", -5)),
    ],
)
def test_annotations_set_properties(text: str, value: object) -> None:
    annotations = {"org.systemd.property.Some": text, "another": "one"}

    assert unit_properties.of_annotations(annotations) == [("Some", value)]


def test_an_annotation_that_is_no_value_is_refused_by_its_name() -> None:
    with pytest.raises(Failed, match=r"org\.systemd\.property\.TimeoutStopUSec"):
        unit_properties.of_annotations({"org.systemd.property.TimeoutStopUSec": "90 s"})
