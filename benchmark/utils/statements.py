"""What a class states of itself, read from its source: importing it may take seconds."""

import ast
from collections.abc import Sequence

from benchmark.utils.fingerprint import source_of


def stated(target: str, names: Sequence[str]) -> dict[str, str] | None:
    """Attributes that a class or one of its bases assigns, as texts.

    Args:
        target: dotted name of the class.
        names: of the attributes; those that nobody assigns are left out.

    Returns:
        A text as it is, a member of an enumeration by its name in lower case; None where there
        is no such class in Python source.
    """
    module, _, name = target.rpartition(".")
    source = source_of(module)
    found = source.definitions.get(name, []) if source else []
    if source is None or not found or not isinstance(found[-1], ast.ClassDef):
        return None
    told: dict[str, str] = {}
    for base in reversed([b.id for b in found[-1].bases if isinstance(b, ast.Name)]):
        for where, there in source.imports.get(base, {(module, base)}):
            told |= stated(f"{where}.{there}", names) or {}
    for statement in found[-1].body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value:
            targets = [getattr(statement, "target", None), *getattr(statement, "targets", ())]
            for assigned in targets:
                if isinstance(assigned, ast.Name) and assigned.id in names:
                    told[assigned.id] = _text(statement.value)
    return told


def _text(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    return value.attr.lower() if isinstance(value, ast.Attribute) else ast.unparse(value)
