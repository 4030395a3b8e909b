"""What is said where workers on a Ray cluster do not start."""

import re
from collections.abc import Mapping
from typing import Any

from benchmark import __version__
from benchmark.run.executors.node import versions
from benchmark.utils.errors import UserError, one_line


def put(ray: Any, value: Any) -> Any:
    """A value in the object store, from where it comes to each node once.

    Raises:
        UserError: the store is full.
    """
    try:
        return ray.put(value)
    except ray.exceptions.RayError as error:
        raise UserError(
            f"executor=ray: the object store takes no data: {one_line(error)}; its memory is full "
            "(`ray memory` says of what), and so is the disk that it has beside that"
        ) from error


def no_room(ray: Any, resources: Mapping[str, float]) -> UserError:
    """That no worker can start."""
    asked = " and ".join(f"{amount:g} {kind}" for kind, amount in resources.items() if amount)
    has, free = ray.cluster_resources(), ray.available_resources()
    told = ", ".join(f"{has.get(k, 0):g} {k} ({free.get(k, 0):g} free)" for k in resources)
    return UserError(f"executor=ray: a cell asks a node for {asked}; the cluster has {told}")


def not_started(error: Exception) -> UserError:
    """That a worker died when it was to start."""
    why = str(error).strip().splitlines()[-1] if is_refused(error) else one_line(error)
    found = re.search(r"ip[=:] *([^\s,)]+)", str(error))
    return UserError(
        f"executor=ray: a worker did not start on {found[1] if found else 'a node'}: {why}; all "
        f"nodes need fedbackdoor {__version__} with what it needs"
    )


def is_refused(error: Exception) -> bool:
    """Whether a worker did not start by itself, and would not elsewhere."""
    return "creation task" in str(error)


def check_versions(place: str, theirs: Mapping[str, str]) -> None:
    """Refuse a node that has other code than this machine.

    Raises:
        UserError: names it.
    """
    for name, version in versions().items():
        if theirs[name] != version:
            raise UserError(
                f"executor=ray: {place} has {name} {theirs[name]}, this machine {version}; all "
                "need the same"
            )
