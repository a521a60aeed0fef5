import pytest

from agent.network import obstacles
from agent.network.obstacles import Table


@pytest.mark.parametrize(
    ("table", "remedy"),
    [
        (
            Table("ip filter", "FORWARD", drops=True, others=frozenset({"DOCKER-USER"})),
            "iptables -I DOCKER-USER -i orch0",
        ),
        (
            Table("ip filter", "FORWARD", drops=True, others=frozenset({"ufw-before-forward"})),
            "ufw route allow in on orch0",
        ),
        (
            Table("ip filter", "FORWARD", drops=True, others=frozenset({"FORWARD"})),
            "iptables -I FORWARD -i orch0",
        ),
        (
            Table("inet mine", "fwd", drops=True, others=frozenset({"fwd"})),
            "nft insert rule inet mine fwd iifname orch0",
        ),
        (Table("inet firewalld", "filter_FORWARD", drops=False, others=frozenset()), "--add-interface=orch0"),
    ],
)
def test_whose_firewall_it_is_decides_what_helps(table: Table, remedy: str) -> None:
    said = obstacles.sentence(table)

    assert remedy in said
    assert table.name in said or "firewalld" in said


def test_a_firewall_that_lets_pass_or_knows_us_is_no_obstacle() -> None:
    assert not obstacles.sentence(Table("ip filter", "FORWARD", drops=False, others=frozenset({"DOCKER"})))
    assert not obstacles.sentence(
        Table("ip filter", "FORWARD", drops=True, others=frozenset(), knows_us=True)
    )
