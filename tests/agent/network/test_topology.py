from agent.network.topology import (
    RemoveSlot,
    Seen,
    SeenLink,
    Slot,
    leftovers,
    mac_of,
)

ONE, TWO = Slot(("10.208.4.2",)), Slot(("10.208.4.3",))


def seen(*slots: Slot) -> Seen:
    names = frozenset(slot.name for slot in slots)
    return Seen(frozenset(SeenLink(slot.link, port=True) for slot in slots), names, names)


def test_a_slot_is_named_after_its_address() -> None:
    assert (ONE.name, ONE.link, ONE.mac) == ("0ad00402", "orch0ad00402", "0a:6f:0a:d0:04:02")
    six = Slot(("fd00:4::12:3456", "10.208.4.2"))
    assert len(six.link) <= 15
    assert six.mac == mac_of("fd00:4::12:3456")


def test_whole_slots_of_tasks_stay() -> None:
    assert list(leftovers([ONE, TWO], seen(ONE, TWO))) == []


def test_slots_of_nobody_go() -> None:
    assert list(leftovers([ONE], seen(ONE, TWO))) == [RemoveSlot(TWO.name)]


def test_whatever_a_kill_left_of_a_slot_goes() -> None:
    port = SeenLink(ONE.link, port=True)
    loose = SeenLink(ONE.link, port=False)
    name = frozenset([ONE.name])

    for half in (
        Seen(files=name),
        Seen(files=name, namespaces=name),
        Seen(links=frozenset([port])),
        Seen(links=frozenset([port]), files=name),
        Seen(links=frozenset([loose]), files=name, namespaces=name),
    ):
        assert list(leftovers([ONE], half)) == [RemoveSlot(ONE.name)]


def test_links_of_others_are_not_touched() -> None:
    others = frozenset(
        SeenLink(name, port=False) for name in ("eth0", "orch0", "orchid", "docker0", "orch12")
    )

    assert list(leftovers([], Seen(links=others))) == []
