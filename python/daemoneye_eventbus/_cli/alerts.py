"""What a broker has refused since it started, as ``doctor`` judges it.

Counters only grow, and one refusal of long ago is no finding for ever. So a refusal needs attention if it shows a
defect of the broker, or if its counter grows while ``doctor`` looks; else it is noted.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from daemoneye_eventbus._cli.examine import Finding
from daemoneye_eventbus._cli.exits import WARN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["ADVICE", "refusals"]

_LOG: Final = "the broker's log says who"
_DEFECT: Final = "panic"
ADVICE: Final = {
    "not_permitted": "somebody tries what is not allowed, a user is missing in --allowed-uids, or another user than "
    f"the broker's ran top, clients, stats or doctor: {_LOG}",
    "authentication_failed": f"somebody has no token or a wrong one: {_LOG}",
    "rights": f"somebody tries what the rules do not allow, or a rule is wrong: {_LOG}, and which topic",
    "busy": "all connections were in use: close some, or raise --max-connections",
    "busy_uid": "one user had as many connections as it may have: close some, or raise --max-connections-per-uid",
    "busy_original": "all places for peers of the original were in use: raise --max-original-peers",
    "accept": "the system gave no connection: raise the broker's limit of descriptors (ulimit -n, LimitNOFILE=)",
    _DEFECT: "a defect of the broker: please report it, with the broker's log",
}
"""Those of operations.md's table of what is worth an alert."""
_OTHERS: Final = "the broker's log says more, one line per second and reason"
_APART: Final = 1.0
"""Seconds between two looks."""


def refusals(before: Mapping[str, int], look: Callable[[], Mapping[str, int]]) -> list[Finding]:
    """What ``before`` says was refused; if some of it is worth an alert, ``look`` is asked a moment later."""
    if not before:
        return [Finding("ok", "refused", "nothing")]
    now = before
    if not ADVICE.keys().isdisjoint(before):
        time.sleep(_APART)
        now = look()
    findings = [_alert(reason, now[reason], now[reason] - before.get(reason, 0)) for reason in ADVICE if reason in now]
    if others := ", ".join(f"{reason} {count}" for reason, count in now.items() if reason not in ADVICE):
        findings.append(Finding("note", "refused", others, _OTHERS))
    return findings


def _alert(reason: str, count: int, more: int) -> Finding:
    text = f"{reason} {count}" + (f", {more} of them just now" if more else "")
    if more or reason == _DEFECT:
        return Finding("warn", "refused", text, ADVICE[reason], WARN)
    return Finding("note", "refused", text, ADVICE[reason])
