"""From the control plane's sections to what is asked, task by task."""

from dataclasses import replace

from agent.reconciler.asked import UNDRAINED_SECONDS, is_whole, tasks_of
from orch.model.assignment import AssignedTask, AssignedTemplate, File, TaskSection
from orch.model.cluster import Stamp
from orch.model.container import ContainerSpec, FileMount
from orch.model.names import ObjectName, ServiceName, TaskId
from orch.model.policy import NodeLoss, OnNodeLoss
from orch.model.service import TaskTemplate
from orch.model.task import Wanted

TASK = TaskId("default", "web", 7, 1, 1)
STAMP = Stamp("c", 1, 1, 1)


def a_section(template: TaskTemplate, wanted: Wanted = Wanted.RUN) -> TaskSection:
    templates = (AssignedTemplate(ServiceName("default", "web"), 7, 3, template),)
    return TaskSection(STAMP, 1, (AssignedTask(TASK, 3, wanted),), templates)


def a_template(*secrets: FileMount, loss: OnNodeLoss | None = None) -> TaskTemplate:
    containers = (ContainerSpec(image="web:1", secrets=secrets),)
    return TaskTemplate(containers=containers, on_node_loss=loss or OnNodeLoss())


def test_a_section_without_a_template_is_not_whole() -> None:
    section = a_section(a_template())

    assert is_whole(section)
    assert not is_whole(TaskSection(STAMP, 1, section.tasks, ()))


def test_files_are_missing_until_the_very_version_has_come() -> None:
    section = a_section(a_template(FileMount(source="db", version=2)))
    old = File(ObjectName("default", "db"), 1, secret=True)
    new = File(ObjectName("default", "db"), 2, secret=True)
    same_name = File(ObjectName("default", "db"), 2, secret=False)

    for files, missing in (
        ((), ("secret db, version 2",)),
        ((old, same_name), ("secret db, version 2",)),
        ((new,), ()),
    ):
        have = frozenset((each.secret, "default", "db", each.version) for each in files)

        assert tasks_of(section, have, {}, 5.0)[TASK.key].missing == missing


def test_a_stop_keeps_the_time_at_which_it_was_first_told() -> None:
    section = a_section(a_template(), Wanted.STOP)
    first = tasks_of(section, frozenset(), {}, 5.0)
    again = tasks_of(section, frozenset(), first, 9.0)

    assert again[TASK.key].stop_since == 5.0


def test_what_must_not_run_alone_waits_for_contact() -> None:
    loss = OnNodeLoss(action=NodeLoss.STOP_AFTER, stop_after=60)

    for template, missing in ((a_template(loss=loss), ("a word",)), (a_template(), ())):
        found = tasks_of(a_section(template), frozenset(), {}, 5.0, alone=("a word",))

        assert found[TASK.key].missing == missing


def test_a_drain_begins_when_the_nodes_have_let_go_or_after_long_enough() -> None:
    section = a_section(a_template(), Wanted.STOP)
    told = tasks_of(section, frozenset(), {}, 5.0)
    drained = replace(section, tasks=tuple(replace(each, drained=True) for each in section.tasks))

    later = tasks_of(drained, frozenset(), told, 9.0)

    delay = told[TASK.key].template.drain_delay
    assert told[TASK.key].leaves_at == 5.0 + UNDRAINED_SECONDS + delay
    assert later[TASK.key].leaves_at == 9.0 + delay
    assert tasks_of(drained, frozenset(), later, 12.0)[TASK.key].leaves_at == 9.0 + delay
