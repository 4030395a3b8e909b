"""Every task in conf/task/."""

from benchmark.testing import TaskContract


class TestTask(TaskContract):
    pass
