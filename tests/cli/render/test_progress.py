"""The line of a service on its way."""

from cli.render import progress
from cli.render.progress import Goal, Seen
from orch.model.rollout import Phase
from orch.model.task import TaskState
from tests.cli import views
from tests.cli.views import NOW


def test_while_images_are_on_their_way_the_line_says_how_far() -> None:
    goal = Goal("default", "web", 2, 2, NOW)
    view = views.a_service(
        "web", status="Rolling", phase=Phase.ROLLING, waiting="0 of 3 have revision 2"
    ).service
    seen = Seen(view)
    for slot, message in ((2, "pulling 12 % (8/65 MB)"), (1, "pulling 63 % (41/65 MB)")):
        seen.note_task(views.a_task(slot, 1, revision=2, state=TaskState.PREPARING, message=message).task)
    seen.note_task(views.a_task(3, 1, revision=1, state=TaskState.PREPARING, message="pulling 1 %").task)

    line = progress.line(goal, seen)

    assert "web.1: pulling 63 % (41/65 MB), and 1 more; 0 of 3 have revision 2" in line
