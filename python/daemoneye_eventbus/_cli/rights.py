"""Rules from a file, and rate limits from an option: what names clients and so fits no single option."""

from __future__ import annotations

import argparse
import dataclasses
import os
import stat
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from daemoneye_eventbus import BrokerConfig, RateLimit, Rule
from daemoneye_eventbus._cli.exits import REFUSED, USAGE, CliError, code_of
from daemoneye_eventbus._cli.options import build, number
from daemoneye_eventbus._cli.users import uid_of
from daemoneye_eventbus._cli.wording import in_options

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["add_rights", "configuration", "rate_limits", "rules"]

_SHORT: Final = {"messages": "messages_per_second", "bytes": "bytes_per_second", "connects": "connects_per_second"}


def add_rights(group: Any) -> None:
    """The options."""
    group.add_argument(
        "--rules",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="TOML file with a [[rule]] for each rule: uids (on Windows sids), tokens, publish, subscribe, "
        "allow; only its owner may write it (default: none)",
    )
    group.add_argument(
        "--rate-limit",
        metavar="LIMIT",
        action="append",
        default=argparse.SUPPRESS,
        type=_rate_limit,
        help="how fast each client, or each uid, may publish and connect, as in per=uid,messages=1000,bytes=1M,"
        "connects=5,burst=2: per second, burst in seconds; may be given for both (default: none)",
    )


def rate_limits(arguments: argparse.Namespace) -> list[RateLimit]:
    """Those given."""
    return getattr(arguments, "rate_limit", [])


def _rate_limit(text: str) -> RateLimit:
    values: dict[str, Any] = {}
    for word in text.split(","):
        name, equals, value = word.partition("=")
        if not equals or name not in {"per", "burst", *_SHORT}:
            known = ", ".join(("per", *_SHORT, "burst"))
            raise argparse.ArgumentTypeError(f"{word!r} is none of {known}, as in per=client,messages=1000")
        if _SHORT.get(name, name) in values:
            raise argparse.ArgumentTypeError(f"{name} is given twice")
        values[_SHORT.get(name, name)] = value if name == "per" else number(value)
    try:
        return RateLimit(**values)
    except (ValueError, TypeError) as error:
        said = in_options(str(error)).removeprefix("RateLimit.")
        for name, field in _SHORT.items():
            said = said.replace(f"{field}:", f"{name}:")
        raise argparse.ArgumentTypeError(said) from None


def configuration(values: dict[str, Any], found: Sequence[tuple[str, Rule]]) -> BrokerConfig:
    """With the rules of a file; what is wrong with one is said with its place, like what shows when it is read."""

    def with_rules(some: Sequence[Rule]) -> BrokerConfig:
        config: BrokerConfig = build(BrokerConfig, values | {"rules": some})
        return config

    try:
        return with_rules([rule for _, rule in found])
    except CliError as error:
        wrong = error
    for where, rule in found:
        try:
            with_rules([rule])
        except CliError as error:
            said = str(error).removeprefix("--rules: ")
            if said != str(error):
                raise CliError(f"{where}: {said}", USAGE) from None
    raise wrong


def rules(arguments: argparse.Namespace) -> list[tuple[str, Rule]]:
    """Those in the file, each with its place in it."""
    name: str | None = getattr(arguments, "rules", None)
    if name is None:
        return []
    try:
        with Path(name).open("rb") as file:
            _check_owner(name, os.fstat(file.fileno()))
            content = tomllib.load(file)
    except OSError as error:
        raise CliError(f"--rules {name}: {error.strerror}", code_of(error)) from None
    except ValueError as error:
        # No TOML, no UTF-8, or a number of more digits than Python reads.
        raise CliError(f"--rules {name}: {error}", USAGE) from None
    except RecursionError:
        raise CliError(f"--rules {name}: nested too deeply; a rule is a table of lists", USAGE) from None
    given = content.pop("rule", [])
    if content or not isinstance(given, list):
        unknown = next(iter(content), "rule")
        raise CliError(f"--rules {name}: {unknown} is not known here; each rule begins with [[rule]]", USAGE)
    numbered = enumerate(cast("Sequence[object]", given), 1)
    places = ((f"--rules {name}: rule {count}", table) for count, table in numbered)
    return [(where, _rule(where, table)) for where, table in places]


def _check_owner(name: str, status: os.stat_result) -> None:
    """Who may write the rules has all rights."""
    if sys.platform != "win32" and (status.st_uid not in {0, os.geteuid()} or status.st_mode & 0o022):
        mode = stat.S_IMODE(status.st_mode)
        raise CliError(
            f"--rules {name}: others may write it (uid {status.st_uid}, mode {mode:04o}); chown and chmod go-w it",
            REFUSED,
        )


def _rule(where: str, table: object) -> Rule:
    known = {field.name for field in dataclasses.fields(Rule)}
    if not isinstance(table, dict):
        raise CliError(f"{where}: not a table; begin it with [[rule]]", USAGE)
    values = cast("dict[str, Any]", table)
    if unknown := sorted(set(values) - known):
        raise CliError(f"{where}: {unknown[0]} is none of {', '.join(sorted(known))}", USAGE)
    try:
        if isinstance(values.get("uids"), list):
            values["uids"] = [uid_of(one) if isinstance(one, str) else one for one in values["uids"]]
        return Rule(**values)
    except argparse.ArgumentTypeError as error:
        raise CliError(f"{where}: uids: {error}", USAGE) from None
    except (ValueError, TypeError) as error:
        raise CliError(f"{where}: {in_options(str(error).removeprefix('Rule.'))}", USAGE) from None
