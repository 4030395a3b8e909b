"""Which code a cell's numbers depend on, and a hash of it: changed code runs its own cells again.

Counted are definitions, not files: what a target names, what that names, and so on, through this
package, the target's own, and whatever lies outside of Python's library and the installed packages,
such as a module beside a notebook, and statements that run when these are imported. Comments,
docstrings, the words of errors and of the log change no number; versions are named in records.
"""

import ast
import hashlib
import sysconfig
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

from benchmark.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = (Path(sysconfig.get_path("stdlib")).resolve(),)
INSTALLED = {"site-packages", "dist-packages"}  # of any environment that is on the path
LOGGERS = ("log", "logger", "logging", "warnings")

Use = tuple[str, str]
"""A module and a name in it: ``*`` is all of it, the empty name is what runs at its import."""


def fingerprint(targets: Iterable[str]) -> str:
    """Hash of the code that targets use.

    Args:
        targets: dotted names of classes, of functions, or of modules, all of whose code counts.

    Raises:
        UserError: a target has no Python source, so what its results depend on is unknown.
    """
    used: dict[Use, str] = {}
    pending = [_split(target) for target in targets]
    packages = frozenset(module.partition(".")[0] for module, _ in pending)
    while pending:
        use = pending.pop()
        if use not in used:
            used[use], further = _read(*use)
            pending += [other for other in further if _is_own(other[0], packages)]
    code = "\n".join(f"# {module} {name}\n{used[module, name]}" for module, name in sorted(used))
    return hashlib.sha256(code.encode()).hexdigest()


def _split(target: str) -> Use:
    if _path(target):
        return target, "*"
    module, _, name = target.rpartition(".")
    if _path(module) is None:
        raise UserError(
            f"{target}: has no Python source, so nobody could tell whether its results still hold; "
            "give its module as a .py file"
        )
    return module, name


class SourceModule:
    """A module's definitions, by name."""

    def __init__(self, module: str, is_package: bool, text: str):
        self.module, self.is_package = module, is_package
        tree = _Silent().visit(ast.parse(text))
        self.definitions: dict[str, list[ast.stmt]] = {"": []}
        self.imports: dict[str, set[Use]] = defaultdict(set)
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for bound, use in self._bound(node):
                    self.imports[bound].add(use)
            else:
                for name in _names(node) or [""]:
                    self.definitions.setdefault(name, []).append(node)
        self._read: dict[str, tuple[str, frozenset[Use]]] = {}

    def read(self, name: str) -> tuple[str, frozenset[Use]]:
        """The code of a definition, and all that it uses."""
        if name not in self._read:
            code = "\n".join(map(ast.unparse, self.definitions.get(name, [])))
            self._read[name] = code, frozenset(self.uses(name))
        return self._read[name]

    def uses(self, name: str) -> Iterator[Use]:
        """All that a definition uses."""
        yield self.module, ""
        imported = set().union(*self.imports.values())
        if not name:
            # Imported modules run, whatever is used of them, and the packages that they are in.
            yield from ((module, "") for module, _ in imported)
            yield from ((parent, "") for parent in _parents(self.module))
        if name == "*":
            yield from ((self.module, own) for own in self.definitions)
            yield from imported
        nodes = [inner for outer in self.definitions.get(name, []) for inner in ast.walk(outer)]
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                yield from (use for _, use in self._bound(node))
            elif isinstance(node, ast.Name):
                yield from self.imports.get(node.id, ())
                if node.id in self.definitions:
                    yield self.module, node.id
        # What this module passes on, as a package's __init__ does.
        yield from self.imports.get(name, ())

    def _bound(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Use]]:
        """What an import binds, and to what."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], (alias.name, "*")
            return
        base = "." * node.level + (node.module or "")
        if node.level:
            package = self.module if self.is_package else self.module.rpartition(".")[0]
            base = resolve_name(base, package)
        for alias in node.names:
            whole = f"{base}.{alias.name}"
            use = (whole, "*") if _path(whole) else (base, alias.name)
            yield alias.asname or alias.name, use


def _parents(module: str) -> Iterator[str]:
    while module := module.rpartition(".")[0]:
        yield module


class _Silent(ast.NodeTransformer):
    """Takes out what changes no number: docstrings, the words of errors, and the log."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [statement for statement in body if not _is_silent(statement)]
            node.body = kept or ([] if isinstance(node, ast.Module) else [ast.Pass()])  # type: ignore[attr-defined]
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """An error's type counts, its words do not."""
        if isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        """What only type checkers import does not run."""
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return ast.Pass()
        return self.generic_visit(node)


def _is_silent(node: ast.stmt) -> bool:
    if isinstance(node, ast.Pass):
        return True
    if not isinstance(node, ast.Expr):
        return False
    if isinstance(node.value, ast.Constant):
        return True
    called = node.value.func if isinstance(node.value, ast.Call) else None
    return (
        isinstance(called, ast.Attribute)
        and isinstance(called.value, ast.Name)
        and called.value.id in LOGGERS
    )


def _names(node: ast.stmt) -> list[str]:
    """What a statement defines; nothing for one that does something else."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    parts = [part for t in targets for part in (t.elts if isinstance(t, ast.Tuple) else [t])]
    names = [part.id for part in parts if isinstance(part, ast.Name)]
    return names if len(names) == len(parts) else []


@cache
def _read(module: str, name: str) -> tuple[str, frozenset[Use]]:
    """The code of a definition, and what it uses."""
    source, path = source_of(module), _path(module)
    if source is None or path is None:
        return "", frozenset()
    code, used = source.read(name)
    # The C sources of a compiled module stand beside it.
    compiled = () if name else sorted(path.parent.glob(f"{path.stem}*.c"))
    return code + "".join(source.read_text(encoding="utf-8") for source in compiled), used


def source_of(module: str) -> SourceModule | None:
    """A module's source, found without importing it; None where it has none."""
    path = _path(module)
    if path is None:
        return None
    return _parsed(module, path.name == "__init__.py", path.read_text(encoding="utf-8"))


@cache
def _parsed(module: str, is_package: bool, text: str) -> SourceModule:
    return SourceModule(module, is_package, text)


def forget() -> None:
    """Read all files anew."""
    for known in (_read, _path, _is_own):
        known.cache_clear()


@cache
def _is_own(module: str, packages: frozenset[str]) -> bool:
    """Whether a module's code is somebody's whose changes nobody else numbers."""
    if module.partition(".")[0] in packages:
        return True
    path = _path(module)
    inside = path and (INSTALLED & {*path.parts} or any(map(path.is_relative_to, LIBRARIES)))
    return path is not None and not inside


@cache
def _path(module: str) -> Path | None:
    """The file of a module, found without importing it; None where it has no Python source."""
    top, _, rest = module.partition(".")
    if top == "benchmark":
        places = [ROOT / top]
    else:
        try:
            spec = find_spec(top)
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            return None
        if not rest and spec.origin and spec.origin.endswith(".py"):
            return Path(spec.origin).resolve()
        places = [Path(place) for place in spec.submodule_search_locations or ()]
    for place in places:
        base = place.joinpath(*rest.split(".")) if rest else place
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file() and (rest or path.name == "__init__.py"):
                return path.resolve()
    return None
