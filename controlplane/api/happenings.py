"""Two reports of a task, one after the other → what happened in between, as events (pure).

Told is what someone may have to look at: ends, failures, probes that stopped passing. Messages carry no
counts and no times, so that the same thing again is one event that is counted.
"""

from collections.abc import Iterator

from controlplane.cluster.change import Tell
from orch.model.event import EventType
from orch.model.names import TaskId
from orch.model.task import ContainerStatus, TaskState, TaskStatus

_TROUBLE = {TaskState.BACKOFF, TaskState.FAILED, TaskState.REJECTED}


def between(known: TaskStatus | None, news: TaskStatus) -> Iterator[Tell]:
    """Every container that ended or could not start; else why the task is not well."""
    before = {each.name: each for each in known.containers} if known else {}
    troubles = [each for each in news.containers if _has_new_trouble(before.get(each.name), each)]
    for each in troubles:
        yield _warning(news.id, each.reason, each.message)
    told = {each.message for each in troubles} | {each.message for each in before.values()}
    if news.state in _TROUBLE and _is_other(known, news) and not any(_says(news, words) for words in told):
        yield _warning(news.id, news.reason, news.message)
    if news.state is TaskState.RUNNING and known and known.ready and not news.ready and news.reason:
        yield _warning(news.id, news.reason, news.message)


def _has_new_trouble(known: ContainerStatus | None, news: ContainerStatus) -> bool:
    """The same end is reported while it waits, again when it runs, and by an agent that came back."""
    if not news.reason:
        return False
    if known is None or (known.reason, known.message) != (news.reason, news.message):
        return True
    if known.finished_at and news.finished_at:
        return known.finished_at != news.finished_at
    return news.restarts > known.restarts


def _is_other(known: TaskStatus | None, news: TaskStatus) -> bool:
    return known is None or (known.state, known.message) != (news.state, news.message)


def _says(news: TaskStatus, words: str) -> bool:
    return bool(words) and news.message.startswith(words)


def _warning(task: TaskId, reason: str, message: str) -> Tell:
    return Tell(EventType.WARNING, reason or "Failed", f"task/{task.full_name}", task.namespace, message)
