"""Who may reach a service, in words."""

import pytest

from orch.model import reach
from orch.model.names import ServiceName


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("*", reach.Anybody()),
        ("default", reach.AsTheNamespace()),
        ("svc/web", reach.OfService(ServiceName("shop", "web"))),
        ("svc/web.front", reach.OfService(ServiceName("front", "web"))),
        ("ns/front", reach.OfNamespace("front")),
        ("10.0.0.0/8", reach.Range("10.0.0.0/8")),
        ("192.0.2.7", reach.Range("192.0.2.7/32")),
        ("2001:db8::/32", reach.Range("2001:db8::/32")),
    ],
)
def test_a_word_means_the_same_wherever_the_tasks_are(word: str, meant: reach.Meant) -> None:
    assert reach.meant(word, "shop") == meant


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("web", "names nobody"),
        ("", "names nobody"),
        ("service/web", "names nobody"),
        ("svc/Web", "is not a name"),
        ("svc/", "is not a name"),
        ("svc/web.", "is not a name"),
        ("ns/", "is not a name"),
        ("10.0.0.1/8", r"has bits set behind its length: write 10\.0\.0\.0/8"),
        ("10.0.0.0/64", "is not a range"),
        ("300.1.1.1", "is not a range"),
    ],
)
def test_what_means_nobody_says_what_to_write(word: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        reach.meant(word, "default")
