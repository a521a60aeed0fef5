"""The one picture: the mirror's word and our own commits, in whatever order they come."""

from controlplane.loop import picture
from controlplane.store import codec, keys, port
from orch import wire
from orch.model.container import ContainerSpec
from orch.model.names import ServiceName, TaskId
from orch.model.service import Service, ServiceSpec, TaskTemplate
from orch.model.task import Task, TaskState, TaskStatus

WEB = ServiceName("default", "web")
SPEC = ServiceSpec(template=TaskTemplate(containers=(ContainerSpec(image="web:1"),)))


def entry(value: codec.Value, modified: int, created: int | None = None) -> port.Entry:
    return port.Entry(codec.key_of(value), wire.encode(value), created or modified, modified, 1)


def a_task(node: str = "", attempt: int = 1) -> Task:
    return Task(TaskId("default", "web", 3, 1, attempt), 1, node=node)


def batch(revision: int, *events: port.Event) -> port.Batch:
    return port.Batch(revision, events)


def test_a_service_is_born_at_the_revision_that_created_it() -> None:
    seen = picture.Picture()
    seen.replace([entry(Service(WEB, SPEC), modified=9, created=7)], 9)
    assert seen.cluster.services[WEB].birth == 7


def test_our_own_commit_is_there_before_the_mirror_has_it() -> None:
    seen = picture.Picture()
    seen.replace([], 3)
    seen.committed([codec.Save(a_task("n1"))], 5)
    assert seen.cluster.task(a_task().id) == a_task("n1")
    assert seen.guard(keys.task_desired(a_task().id)) == port.Unchanged(keys.task_desired(a_task().id), 5)


def test_a_mirror_that_lags_does_not_take_our_own_commit_back() -> None:
    seen = picture.Picture()
    seen.replace([], 2)
    seen.committed([codec.Save(a_task("n1"))], 5)
    seen.update(batch(4, port.Changed(entry(a_task(), 4))))
    assert seen.cluster.task(a_task().id) == a_task("n1")
    assert not seen.is_whole_at(5)
    seen.update(batch(5, port.Changed(entry(a_task("n1"), 5))))
    assert seen.is_whole_at(5)


def test_what_we_deleted_does_not_come_back_with_an_older_event() -> None:
    seen = picture.Picture()
    seen.replace([entry(a_task("n1"), 3)], 3)
    seen.committed([codec.Drop(keys.task_desired(a_task().id))], 6)
    seen.update(batch(5, port.Changed(entry(a_task("n1"), 5, created=3))))
    assert seen.cluster.task(a_task().id) is None
    seen.replace([entry(a_task("n1"), 5, created=3)], 5)
    assert seen.cluster.task(a_task().id) is None
    seen.update(batch(7, port.Changed(entry(a_task("n2"), 7))))
    assert seen.cluster.task(a_task().id) == a_task("n2")


def test_a_fresh_list_removes_what_is_gone_and_keeps_what_is_newer_than_it() -> None:
    seen = picture.Picture()
    old, own = a_task("n1", attempt=1), a_task("n1", attempt=2)
    seen.replace([entry(old, 3)], 3)
    seen.committed([codec.Save(own)], 9)
    seen.replace([], 8)
    assert seen.cluster.task(old.id) is None
    assert seen.cluster.task(own.id) == own


def test_a_step_says_what_it_touched() -> None:
    seen = picture.Picture()
    steps: list[picture.Touched] = []
    seen.listen(steps.append)
    seen.replace([], 1)
    seen.committed([codec.Save(a_task("n1"))], 2)
    assert (steps[-1].services, steps[-1].assigned, steps[-1].frees) == ({WEB}, {"n1"}, False)
    seen.committed([codec.Save(TaskStatus(a_task().id, "n1", TaskState.FAILED))], 3)
    assert (steps[-1].assigned, steps[-1].endpoints, steps[-1].frees) == (set(), {WEB}, True)
    seen.update(batch(3, port.Changed(entry(TaskStatus(a_task().id, "n1", TaskState.FAILED), 3))))
    assert len(steps) == 2, "the mirror said nothing new"


def test_keys_of_others_are_left_alone() -> None:
    seen = picture.Picture()
    seen.replace(
        [port.Entry(keys.LEADER, b"127.0.0.1:1", 2, 2, 1), port.Entry(keys.token("x"), b"{}", 3, 3, 1)], 4
    )
    assert not seen.cluster.modified
