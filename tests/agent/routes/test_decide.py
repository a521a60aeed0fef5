"""What is said to a running proxy, and when a new one is needed."""

from collections.abc import Mapping

from agent.routes import config, decide, seen
from agent.routes.wanted import Backend, Certificate, Manner, Server, Wanted

ORDINARY = Manner()
PLACES = config.Places("/r", "/k")
ONE, TWO = Server("r1.1", "10.0.0.1", 80), Server("r1.2", "10.0.0.2", 80)


def wanted(
    *servers: Server,
    http: Mapping[str, str] | None = None,
    manner: Manner = ORDINARY,
    certificates: tuple[Certificate, ...] = (),
) -> Wanted:
    table = {"a.test/": "web.default:80"} if http is None else http
    backend = Backend("web.default:80", "web", manner, servers)
    return Wanted((backend,), table, dict(table), {}, certificates, has_tls=True)


def now(of: Wanted) -> seen.Seen:
    return decide.after(of, seen.Seen(), PLACES)


def words(to: Wanted, of: Wanted | seen.Seen) -> list[str]:
    steps = decide.decide(to, now(of) if isinstance(of, Wanted) else of, PLACES)
    return [each.words if isinstance(each, decide.Say) else "RELOAD" for each in steps]


def test_what_is_as_it_should_be_is_left_alone() -> None:
    assert words(wanted(ONE), wanted(ONE)) == []


def test_who_comes_is_there_before_who_goes_is_left() -> None:
    assert words(wanted(TWO), wanted(ONE)) == [
        "add server web.default:80/r1.2 10.0.0.2:80 weight 100",
        "set server web.default:80/r1.2 state ready",
        "set server web.default:80/r1.1 state drain",
    ]


def test_who_comes_back_while_it_is_being_left_is_led_to_again() -> None:
    leaving = decide.after(wanted(TWO), now(wanted(ONE, TWO)), PLACES)

    assert words(wanted(ONE, TWO), leaving) == ["set server web.default:80/r1.1 state ready"]
    assert decide.draining(leaving) == {"web.default:80": ["r1.1"]}


def test_a_weight_changes_at_run_time() -> None:
    heavier = Server("r1.1", "10.0.0.1", 80, 200)

    assert words(wanted(heavier), wanted(ONE)) == ["set server web.default:80/r1.1 weight 200"]


def test_hosts_and_paths_change_at_run_time() -> None:
    to = wanted(ONE, http={"a.test/": "x.default:80", "b.test/": "web.default:80"})
    of = wanted(ONE, http={"a.test/": "web.default:80", "old.test/": "web.default:80"})

    assert words(to, of)[:3] == [
        "del map /r/http.map old.test/",
        "set map /r/http.map a.test/ x.default:80",
        "add map /r/http.map b.test/ web.default:80",
    ]


def test_another_service_or_manner_needs_a_new_process() -> None:
    other = Wanted((Backend("api.default:80", "api"),), {"a.test/": "api.default:80"}, {}, {}, has_tls=True)

    assert words(other, wanted(ONE)) == ["RELOAD"]
    assert words(wanted(ONE, manner=Manner(timeout=5.0)), wanted(ONE)) == ["RELOAD"]
    assert words(wanted(ONE), seen.Seen()) == ["RELOAD"]


def test_a_certificate_changes_at_run_time_and_is_told_only_then() -> None:
    def with_(*pems: str) -> Wanted:
        found = (Certificate(f"c{number}", pem, (f"{number}.test",)) for number, pem in enumerate(pems))
        return wanted(ONE, certificates=tuple(found))

    assert words(with_("A"), with_("A")) == []
    assert words(with_("B"), with_("A")) == ["set ssl cert /k/c0.pem <<\nB\n", "commit ssl cert /k/c0.pem"]
    assert words(with_("A", "N"), with_("A")) == [
        "new ssl cert /k/c1.pem",
        "set ssl cert /k/c1.pem <<\nN\n",
        "commit ssl cert /k/c1.pem",
        "add ssl crt-list /r/certificates.list <<\n/k/c1.pem 1.test\n",
    ]
    assert words(with_("A"), with_("A", "N")) == [
        "del ssl crt-list /r/certificates.list /k/c1.pem",
        "del ssl cert /k/c1.pem",
    ]


def test_the_structure_knows_nothing_of_endpoints_hosts_and_certificates() -> None:
    here = config.structure(wanted(ONE), PLACES)

    assert config.structure(wanted(TWO, http={"x/": "y"}), PLACES) == here
    assert here in config.text(wanted(ONE), PLACES)
    assert "server r1.1 10.0.0.1:80 weight 100" in config.text(wanted(ONE), PLACES)
