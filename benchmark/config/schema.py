"""What is read from files is checked against dataclasses: a fault is one line that names the key.

The only module that knows pydantic. Types are strict: text is no number, and a whole number passes
for a float, never the reverse. Keys that a dataclass does not have are refused, NaN too.
"""

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import yaml

from benchmark.utils.errors import UserError, one_line, unknown

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

T = TypeVar("T")

EXPECTED = {
    "bool_type": "true or false",
    "dataclass_type": "a mapping",
    "dict_type": "a mapping",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "string_type": "text",
    "tuple_type": "a list",
}
UNEXPECTED, VERSION = "unexpected_keyword_argument", "schema_version"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
SHOWN = 60
"""Characters of a wrong value that are shown."""


@dataclass(frozen=True)
class Check:
    """Annotates a field with what else must hold of it in a file.

    Attributes:
        check: takes the value, raises ValueError.
    """

    check: Callable[[Any], None]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        # Imported late, as in `_adapter`.
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self._same, handler(source))

    def _same(self, value: Any) -> Any:
        self.check(value)
        return value


def some(values: Collection[Any]) -> None:
    """That there are any."""
    if not values:
        raise ValueError("must not be empty")


@dataclass(frozen=True)
class Schema(Generic[T]):
    """A kind of file.

    Attributes:
        of: what it holds. The default of its field ``schema_version``, where it has one, is the
            version that is read, beside those ``older``.
        refusal: how a fault begins, such as ``not a record``; empty if the place says it all.
        mend: what to do about one.
        extra: what becomes of keys that it does not have.
    """

    of: type[T]
    refusal: str = ""
    mend: str = ""
    extra: Literal["forbid", "ignore"] = "forbid"
    older: Sequence[int] = ()

    def parse(self, data: bytes, where: object, mend: str = "") -> T:
        """JSON.

        Raises:
            UserError: it does not fit; names ``where`` and ``mend``, by default the schema's own.
        """
        from pydantic_core import from_json

        mend = mend or self.mend
        try:
            raw = from_json(data)
        except ValueError as error:
            raise self._refused(where, f"not JSON, {one_line(error)}", mend) from None
        self._check_version(raw, where, mend)
        found = self._valid(data, where, mend)
        # A terminal would obey them.
        if steering := next((key for key, text in _texts(raw) if _CONTROL.search(text)), None):
            raise self._refused(where, f"{steering} holds control characters", mend)
        try:
            json.dumps(raw, allow_nan=False)
        except ValueError:
            raise self._refused(where, "NaN and infinity are no JSON", mend) from None
        return found

    def check(self, raw: Any, where: object) -> T:
        """Plain values, of a YAML for example.

        Raises:
            UserError: as :meth:`parse`.
        """
        try:
            # As JSON, in which pydantic takes a mapping for a dataclass and stays strict.
            data = json.dumps(raw, default=str).encode()
        except (ValueError, RecursionError):
            raise self._refused(where, "nested too deep", self.mend) from None
        return self.parse(data, where)

    def read(self, path: Path, mend: str = "") -> T:
        """A JSON file.

        Raises:
            UserError: as :meth:`parse`.
            FileNotFoundError: there is none.
        """
        return self.parse(path.read_bytes(), path, mend)

    def _adapter(self) -> "TypeAdapter[T]":
        of: Any = self.of
        return _adapter(of, self.extra)

    def _valid(self, data: bytes, where: object, mend: str) -> T:
        from pydantic import ValidationError

        try:
            return self._adapter().validate_json(data)
        except ValidationError as error:
            raise self._refused(where, _fault(self.of, error.errors()), mend) from None

    def _check_version(self, raw: Any, where: object, mend: str) -> None:
        of: Any = self.of
        valid = [*self.older, *(f.default for f in fields(of) if f.name == VERSION)]
        if valid and isinstance(raw, dict) and raw.get(VERSION) not in valid:
            read = " or ".join(map(str, valid))
            fault = f"of schema version {raw.get(VERSION)}, this program reads version {read}"
            raise self._refused(where, fault, mend)

    def _refused(self, where: object, fault: str, mend: str) -> UserError:
        said = ": ".join(filter(None, [str(where), self.refusal, fault]))
        return UserError("; ".join(filter(None, [said, mend])))


def load_yaml(path: Path, refusal: str = "not YAML", mend: str = "") -> Any:
    """What a YAML file holds.

    Raises:
        UserError: it is none.
        FileNotFoundError: it is not there.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:
        fault = one_line(error)
    except RecursionError:
        fault = "nested too deep"
    raise UserError("; ".join(filter(None, [f"{path}: {refusal}: {fault}", mend])))


@cache
def _adapter(of: Any, extra: str) -> "TypeAdapter[Any]":
    # Imported late: pydantic takes a fifth of a second, and a wrong name should not.
    from pydantic import TypeAdapter

    of.__pydantic_config__ = {"strict": True, "extra": extra, "allow_inf_nan": False}
    return TypeAdapter(of)


def _fault(of: Any, errors: "list[ErrorDetails]") -> str:
    """The first of some faults in words."""
    # A key that is misspelled is missing too.
    error = next((e for e in errors if e["type"] == UNEXPECTED), errors[0])
    kind, got, context = error["type"], repr(error["input"]), error.get("ctx", {})
    key, declared = _walk(of, error["loc"])
    if kind == UNEXPECTED:
        place, owner = _walk(of, error["loc"][:-1])
        return str(unknown("key", str(error["loc"][-1]), _names(owner), place))
    if kind == "literal_error":
        where, _, leaf = key.rpartition(".")
        return str(unknown(leaf, str(error["input"]), map(str, get_args(declared)), where))
    if kind == "missing":
        return f"{key} is missing"
    if kind == "value_error":
        return f"{key} {context['error']}".strip()
    # Of a union, each choice has a fault of its own.
    same = [e for e in errors if _walk(of, e["loc"])[0] == key]
    expected = " or ".join(dict.fromkeys(EXPECTED.get(e["type"], e["msg"]) for e in same))
    shown = got if len(got) <= SHOWN else f"{got[:SHOWN]}..."
    return f"{key} must be {expected}, got {shown}".strip()


def _texts(raw: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in plain values, names of keys included, with the key where it stands."""
    if isinstance(raw, str):
        yield key, raw
    elif isinstance(raw, dict):
        for name, value in raw.items():
            yield key, name
            yield from _texts(value, f"{key}.{name}".strip("."))
    elif isinstance(raw, list):
        for value in raw:
            yield from _texts(value, key)


def _walk(of: Any, place: Sequence[Any]) -> tuple[str, Any]:
    """The key that a place stands for, and what is declared there."""
    key = []
    for part in place:
        options = [option for option in get_args(of) if option is not NoneType]
        if get_origin(of) in (Union, UnionType) and len(options) > 1:
            # Not a key, but pydantic's name of one choice of the union.
            of = None
            continue
        if get_origin(of) in (Union, UnionType):
            of = options[0]
        if part != "[key]":
            key.append(str(part))
        of = get_type_hints(of).get(key[-1]) if is_dataclass(of) else (get_args(of) or [None])[-1]
    return ".".join(key), of


def _names(of: Any) -> list[str]:
    return [field.name for field in fields(of)] if is_dataclass(of) else []
