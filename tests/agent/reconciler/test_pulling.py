"""A pull is spoken of once a second, not once a chunk."""

import pytest

from agent.reconciler import pulling
from agent.reconciler.observed import Pulling


def test_of_a_thousand_chunks_in_two_seconds_few_are_spoken_of() -> None:
    now = 0.0
    told: list[Pulling] = []
    said = pulling.Said("web:1", told.append, lambda: now)

    for chunk in range(1000):
        now = chunk * 0.002
        said.at(chunk, 1000)

    assert [each.done for each in told] == [100, 600]


@pytest.mark.parametrize(
    ("done", "total", "words"),
    [
        (0, 0, "pulling"),
        (0, 65_000_000, "pulling 0 % (0.0/65 MB)"),
        (41_200_000, 65_400_000, "pulling 62 % (41/65 MB)"),
        (500_000, 2_000_000, "pulling 25 % (0.5/2.0 MB)"),
        (3, 2, "pulling 100 % (0.0/0.0 MB)"),
    ],
)
def test_the_sentence(done: int, total: int, words: str) -> None:
    assert pulling.sentence(Pulling("web:1", done, total)) == words
