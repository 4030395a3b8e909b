"""Which source files a cell uses, and a hash of them: a changed file runs its own cells again."""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def fingerprint(modules: Iterable[str]) -> str:
    """Hash of the given modules and all of this package that they import, at any depth.

    Code counts, comments and docstrings do not: explaining a defense better does not make its
    results stale. Python's own version is no part of it.

    Args:
        modules: dotted names, such as ``benchmark.attacks.boosted``.

    Returns:
        64 hexadecimal digits.
    """
    used: set[str] = set()
    pending = list(modules)
    while pending:
        module = pending.pop()
        if module not in used:
            used.add(module)
            pending += _parsed(module)[1]
    code = "\n".join(f"# {module}\n{_parsed(module)[0]}" for module in sorted(used))
    return hashlib.sha256(code.encode()).hexdigest()


@cache
def _parsed(module: str) -> tuple[str, tuple[str, ...]]:
    path = _path(module)
    if path is None:
        return "", ()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            if node.level:
                inside = path.name == "__init__.py"
                base = resolve_name(base, module if inside else module.rpartition(".")[0])
            imported += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    package = module.partition(".")[0]
    own = [name for name in imported if name.split(".")[0] == package and _path(name)]
    # The C sources of a compiled module stand beside it.
    compiled = sorted(path.parent.glob(f"{path.stem}*.c"))
    extra = "".join(source.read_text(encoding="utf-8") for source in compiled)
    return ast.unparse(tree) + extra, tuple(own)


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _path(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None
