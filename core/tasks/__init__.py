"""What targets may be, one file a task: how they are read, learnt, predicted, evaluated and drawn.

Nobody else asks which task it is; what differs between tasks is a field of `Task`.
"""

from __future__ import annotations

from graftwork.core.errors import SettingsError
from graftwork.core.tasks.labels import MULTI_LABEL, SINGLE_LABEL
from graftwork.core.tasks.masks import MASK
from graftwork.core.tasks.ordinal import ORDINAL
from graftwork.core.tasks.regression import REGRESSION
from graftwork.core.tasks.task import Task
from graftwork.core.tasks.text import TEXT

TASKS = (SINGLE_LABEL, MULTI_LABEL, ORDINAL, REGRESSION, TEXT, MASK)

__all__ = ["MASK", "MULTI_LABEL", "ORDINAL", "REGRESSION", "SINGLE_LABEL", "TASKS", "TEXT", "Task", "find_task"]


def find_task(task: Task | str) -> Task:
    """The task of that name. Raises SettingsError that lists the known ones."""
    if isinstance(task, Task):
        return task
    found = next((one for one in TASKS if one.name == task), None)
    if found is None:
        raise SettingsError(f"task: expected one of {', '.join(map(str, TASKS))}, found {task!r}")
    return found
