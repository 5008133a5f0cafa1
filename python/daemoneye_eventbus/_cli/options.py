"""Options made from the fields of a configuration, so that neither a limit nor its unit is stated twice."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib.resources
import inspect
import itertools
import re
import types
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, Union, cast, get_args, get_origin, get_type_hints

from daemoneye_eventbus._cli.arguments import integer, real
from daemoneye_eventbus._cli.exits import USAGE, CliError
from daemoneye_eventbus._cli.users import gid_of, uid_of
from daemoneye_eventbus._cli.wording import in_options

__all__ = ["add_fields", "build", "documentation", "documentation_of_native", "flag", "given", "number"]

_UNITS: Final = {"k": 1024, "m": 1024**2, "g": 1024**3}
_PREFIX: Final = "field_"


def _size(text: str) -> int:
    word = text.lower().removesuffix("b").removesuffix("i")
    unit = _UNITS.get(word[-1:], 1)
    digits = word[:-1] if unit > 1 else word
    if not (digits.isascii() and digits.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give bytes, or a number with K, M or G")
    return int(digits) * unit


def number(text: str) -> float:
    """A number, with K, M or G for powers of 1024."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float(_size(text))
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number; K, M and G at its end stand for powers of 1024"
        ) from None


def _octal(text: str) -> int:
    try:
        return int(text.removeprefix("0o"), 8)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no mode; give it in octal, as in 0660") from None


def _list_of(convert: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    def convert_list(text: str) -> list[Any]:
        try:
            return [convert(word) for word in text.split(",") if word]
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no list of {convert.__name__}, as in 1,2") from None

    return convert_list


# Numbers of the system, as it writes them.
_NAMED: Final[dict[str, dict[str, Any]]] = {
    "allowed_uids": {"type": _list_of(uid_of), "action": "extend", "metavar": "USER,..."},
    "socket_group": {"type": gid_of, "metavar": "GROUP"},
    "socket_mode": {"type": _octal, "metavar": "MODE"},
}
_NUMBERS: Final[dict[Any, tuple[Callable[[str], Any], str]]] = {
    int: (integer, "N"),
    float: (real("number of seconds"), "SECONDS"),
}
_FILES: Final = {"token": "--token-file"}
"""Options that are given not the value but where it stands."""
_TEXTS: Final = {"allowed_sids": "SID", "original_patterns": "PATTERN"}
"""What each text of a list is."""
_ATTRIBUTE: Final = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
_CLAUSE: Final = re.compile(r"; [^;.`]*`+([\w.]+)`+[^;.]*")
"""Behind a semicolon, with the first thing that it quotes."""


def flag(name: str) -> str:
    """The option of a field."""
    return "--" + name.replace("_", "-")


def documentation(cls: type) -> dict[str, str]:
    """The text of each field, from the section ``Attributes`` of the class. Empty where docstrings are left out."""
    attributes = (inspect.getdoc(cls) or "").partition("\nAttributes:\n")[2]
    return _plain(dict(_ATTRIBUTE.findall(attributes)))


def documentation_of_native(name: str) -> dict[str, str]:
    """The same for a class of the extension, from its stub."""
    try:
        stub = importlib.resources.files("daemoneye_eventbus").joinpath("_native.pyi").read_text(encoding="utf-8")
    except OSError:
        return {}
    return _plain(_below_fields(ast.parse(stub), name))


def _plain(texts: dict[str, str]) -> dict[str, str]:
    """As a shell's user reads them: without clauses about what Python alone has, such as ``None`` and functions."""

    def plain(text: str) -> str:
        said = _CLAUSE.sub(lambda clause: clause[0] if clause[1] in texts else "", " ".join(text.split()))
        return said.replace("`", "")

    return {name: plain(text) for name, text in texts.items()}


def _below_fields(tree: ast.Module, name: str) -> dict[str, str]:
    found: dict[str, str] = {}
    definitions = (one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == name)
    nothing: list[ast.stmt] = []
    body = next((one.body for one in definitions), nothing)
    for item, after in itertools.pairwise(body):
        match item, after:
            case (
                ast.AnnAssign(target=ast.Name(id=field)),
                ast.Expr(value=ast.Constant(value=str() as text)),
            ):
                found[field] = text
            case _:
                continue
    return found


def add_fields(options: Any, cls: Any, *, leave_out: Sequence[str]) -> None:
    """One option for each field of a dataclass."""
    helps = documentation(cls)
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if field.name in leave_out:
            continue
        settings = _settings(field.name, hints[field.name])
        text = _with_options(cls, helps.get(field.name, "")).replace("%", "%%")
        options.add_argument(
            flag(field.name),
            dest=_PREFIX + field.name,
            default=argparse.SUPPRESS,
            help=f"{text} (default: {_shown(field.name, field.default)})",
            **settings,
        )


def _with_options(cls: Any, text: str) -> str:
    """Other fields by the names that they have here."""
    for field in dataclasses.fields(cls):
        if "_" in field.name:
            text = re.sub(rf"\b{field.name}\b", flag(field.name), text)
    return text


def _settings(name: str, hint: Any) -> dict[str, Any]:
    if get_origin(hint) in {Union, types.UnionType}:
        (hint,) = (one for one in get_args(hint) if one is not types.NoneType)
    if get_origin(hint) is Literal:
        return {"choices": get_args(hint)}
    if name in _NAMED:
        return _NAMED[name]
    if get_origin(hint) is Sequence:
        (item,) = get_args(hint)
        return {
            "type": _list_of(integer if item is int else item),
            "action": "extend",
            "metavar": f"{_TEXTS.get(name, item.__name__.upper())},...",
        }
    if hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    if hint is int and (name.endswith("_bytes") or name == "max_frame"):
        return {"type": _size, "metavar": "BYTES"}
    convert, metavar = _NUMBERS.get(hint, (hint, "NAME"))
    return {"type": convert, "metavar": metavar}


def _shown(name: str, default: Any) -> str:
    if name.endswith("_mode"):
        return f"{default:04o}"
    if isinstance(default, tuple):
        return ",".join(map(str, cast("tuple[object, ...]", default))) or "none"
    if default is None or isinstance(default, bool):
        return {None: "none", True: "yes", False: "no"}[default]
    return str(default)


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields whose options were given."""
    return {name.removeprefix(_PREFIX): value for name, value in vars(arguments).items() if name.startswith(_PREFIX)}


def build(cls: Any, values: dict[str, Any]) -> Any:
    """The configuration; what it refuses is an error of usage that names the option."""
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        text = str(error)
        for field in dataclasses.fields(cls):
            text = text.replace(f"{cls.__name__}.{field.name}:", f"{_FILES.get(field.name, flag(field.name))}:")
        raise CliError(_with_options(cls, in_options(text)), USAGE) from None
