"""The words of a build, as they come."""

from cli.render.building import Building
from orch.v1 import control_pb2 as pb


def told(*words: tuple[int, str, str, float]) -> str:
    building = Building()
    return "".join(
        building.line(pb.BuildProgress(step=step, steps=4, kind=kind, text=text, seconds=seconds))
        for step, kind, text, seconds in words
    )


def test_a_step_is_followed_by_what_it_wrote_and_how_long_it_took() -> None:
    said = told((1, "begin", "RUN make", 0), (1, "output", "cc a.c", 0), (1, "done", "", 2.34))

    assert said == "[1/4] RUN make\n   │ cc a.c\n   2.3 s\n"


def test_what_belongs_to_another_step_than_the_line_above_says_to_which() -> None:
    said = told(
        (1, "begin", "RUN make", 0),
        (3, "begin", "RUN npm ci\nmore", 0),
        (1, "output", "cc a.c", 0),
        (3, "cached", "", 0),
        (3, "done", "", 9),
        (1, "done", "", 2.34),
    )

    assert said == "[1/4] RUN make\n[3/4] RUN npm ci …\n   [1/4] │ cc a.c\n   cached\n   [1/4] 2.3 s\n"
