"""What a container finds of names in /etc."""

from dataclasses import replace

from agent.reconciler import naming
from agent.reconciler.naming import HostResolving, Naming

WEB = Naming("web.3", "3.web.shop.orch", "shop", ("10.208.4.7", "fd00::7"), "10.208.4.1")
AT_HOME = HostResolving(("corp.example", "lab.example"), ("timeout:1", "edns0"))


def test_the_hosts_file_has_this_machine_and_the_task_under_both_its_names() -> None:
    lines = naming.hosts(WEB).splitlines()

    assert lines[:2] == ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    assert lines[-2:] == ["10.208.4.7\t3.web.shop.orch web.3", "fd00::7\t3.web.shop.orch web.3"]


def test_hosts_of_the_manifest_come_last_and_may_mean_the_node() -> None:
    task = replace(WEB, extra_hosts={"db.example": "10.0.0.5", "host.docker.internal": "host-gateway"})

    assert naming.hosts(task).splitlines()[-2:] == [
        "10.0.0.5\tdb.example",
        "10.208.4.1\thost.docker.internal",
    ]


def test_names_are_completed_by_the_cluster_and_then_as_the_node_does() -> None:
    assert naming.resolv_conf(WEB, AT_HOME) == (
        "nameserver 10.208.4.1\nsearch shop.orch orch corp.example lab.example\noptions timeout:1 edns0\n"
    )
    assert naming.resolv_conf(WEB, HostResolving()) == "nameserver 10.208.4.1\nsearch shop.orch orch\n"


def test_the_manifest_takes_the_place_of_what_the_node_says() -> None:
    task = replace(WEB, search=("team.example",), options=("ndots:2",))

    assert naming.resolv_conf(task, AT_HOME).splitlines()[1:] == [
        "search shop.orch orch team.example",
        "options ndots:2",
    ]
    assert "search shop.orch orch\n" in naming.resolv_conf(replace(WEB, search=(".",)), AT_HOME)


def test_no_more_domains_than_every_libc_reads() -> None:
    many = HostResolving(tuple(f"d{number}.example" for number in range(9)))

    assert (
        naming.resolv_conf(WEB, many)
        .splitlines()[1]
        .endswith(" orch d0.example d1.example d2.example d3.example")
    )


def test_the_last_search_line_counts_and_options_add_up() -> None:
    text = "# domain no\ndomain old.example\nnameserver 1.1.1.1\nsearch a.example  b.example .\n"
    text += "options ndots:2\noptions rotate timeout:1\nsearch\n"

    assert naming.read(text.removesuffix("search\n")) == HostResolving(
        ("a.example", "b.example"), ("ndots:2", "rotate", "timeout:1")
    )
    assert naming.read(text).search == ()
    assert naming.read("") == HostResolving()
