"""The broker's side: whether it answers, what it is, and how it is doing."""

from __future__ import annotations

import contextlib
import errno
import time
from typing import TYPE_CHECKING, Any, Final

from daemoneye_eventbus import __version__
from daemoneye_eventbus._cli import alerts
from daemoneye_eventbus._cli.examine import Finding, starters, strange
from daemoneye_eventbus._cli.exits import NO_BROKER, REFUSED, WARN
from daemoneye_eventbus._cli.numbers import counted, duration
from daemoneye_eventbus._cli.raw import UNKNOWN, UNPROVED, RawConnection, Refusal, answer, handshake
from daemoneye_eventbus._cli.users import effective_uid, shown
from daemoneye_eventbus._listing import Listing
from daemoneye_eventbus.errors import ConnectionLost, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

__all__ = ["broker"]

# Of a bound, from where on it is worth telling.
_NEARLY: Final = 0.8
_ADVICE: Final = {
    "overflow": "readers are too slow: read more at once, filter, raise --queue-messages and --queue-bytes, and what "
    'readers ask for themselves (broker_queue_messages), or lose nothing with congestion="block" and overflow="block"',
    "total_queue_bytes": "readers are too slow together: raise --total-queue-bytes, or find the slowest with clients",
    "no_memory": "allocations failed: give the broker's process more memory, or lower queue_bytes and max_connections",
    "max_frame": "a reader takes smaller frames than publishers send; raise its max_frame",
}
_SHOWN: Final = 100
"""Characters of what a stranger's answer lacks."""
_USUAL: Final = frozenset({"closed", "disconnected"})
_LISTING: Final = 10
"""All pages of the clients together have so many times what one answer has."""


def broker(path: Path, token: bytes | None, trusted: Collection[int], timeout: float) -> list[Finding]:
    """Connects, as any client does, and asks; nothing is sent to whoever runs as none of ``trusted``."""
    try:
        with RawConnection(path, timeout) as raw:
            return _findings(raw, token, trusted, timeout)
    except Refusal as refusal:
        return [_refused(refusal)]
    except TimeoutError:
        text = "somebody listens and does not answer CONNECT"
        advice = (
            'a broker of DaemonEye\'s own crate (then use peer="original"), or one that hangs: look at its log, stop it'
        )
        return [Finding("bad", "broker", text, advice, NO_BROKER)]
    except ConnectionLost as error:
        return [Finding("bad", "broker", str(error), "look at the broker's log; it says why it cut", NO_BROKER)]
    except OSError as error:
        return [_unreachable(error, path, starters(path, trusted))]
    except (ProtocolError, KeyError, TypeError, ValueError, AttributeError) as error:
        text = f"somebody listens who answers as no broker does ({type(error).__name__}: {str(error)[:_SHOWN]})"
        advice = (
            'find out who it is, as with ss -xlp, and stop it; use peer="original" for one of DaemonEye\'s own crate'
        )
        return [Finding("bad", "broker", text, advice, NO_BROKER)]


def _findings(raw: RawConnection, token: bytes | None, trusted: Collection[int], timeout: float) -> list[Finding]:
    peer = raw.peer()
    if peer.uid not in trusted:
        text = f"it runs as {shown(peer.uid)}, and clients of {shown(effective_uid())} refuse that"
        return [Finding("bad", "broker", text, strange(peer.uid), REFUSED)]
    began = time.monotonic()
    info = handshake(raw, "doctor", token, timeout)
    passed = (time.monotonic() - began) * 1000
    pid = "" if peer.pid is None else f"pid {peer.pid}, "
    answers = Finding("ok", "broker", f"answers in {passed:.1f} ms as {pid}{shown(peer.uid)}")
    try:
        return [answers, _version(info), *_numbers(raw, info, timeout)]
    except TimeoutError:
        text = "answers CONNECT, and what it is asked then not in time"
        advice = "one that hangs or has too much to do: look at its log, or give more time with --connect-timeout"
        return [Finding("bad", "broker", text, advice, NO_BROKER)]


def _unreachable(error: OSError, path: Path, users: Collection[int]) -> Finding:
    match error.errno:
        case errno.ENOENT:
            who = "" if effective_uid() in users else f" as {' or '.join(map(shown, users))}"
            advice = f"start one{who}: daemoneye-eventbus broker {path}"
            return Finding("bad", "broker", "none runs here", advice, NO_BROKER)
        case errno.ECONNREFUSED | errno.ENOTSOCK:
            text = "nobody listens: the socket was left behind, as after a crash"
            advice = f"start the broker{_of(path)} again; it removes the socket itself"
            return Finding("bad", "broker", text, advice, NO_BROKER)
        case errno.EPROTOTYPE:
            text = "the socket there is of another type (for datagrams, for example), which is no broker's"
            return Finding("bad", "broker", text, "have its maker remove it, or choose another path", REFUSED)
        case errno.EACCES | errno.EPERM:
            text = f"{shown(effective_uid())} may not connect"
            return Finding("bad", "broker", text, "see what is said of the directory and the socket", REFUSED)
        case errno.EAGAIN:
            text = "its queue of new connections is full"
            return Finding("bad", "broker", text, "it does not accept: look at its log and its descriptors", NO_BROKER)
        case _:
            return Finding("bad", "broker", error.strerror or str(error), None, NO_BROKER)


def _of(path: Path) -> str:
    """Whose broker it was, where it was not ours: nobody removes anybody else's socket."""
    with contextlib.suppress(OSError):
        uid = path.lstat().st_uid
        if uid != effective_uid():
            return f" of {shown(uid)}"
    return ""


def _refused(refusal: Refusal) -> Finding:
    match refusal.code:
        case "not_permitted":
            advice = "run this as the broker's user, or start it with --allowed-uids, --socket-mode and --socket-group"
            return Finding("bad", "broker", f"answers, and refuses: {refusal}", advice, REFUSED)
        case "authentication_failed":
            advice = "give --token-file with the broker's token"
            return Finding("bad", "broker", f"answers, and refuses: {refusal}", advice, REFUSED)
        case code if code == UNKNOWN:
            advice = "clients here cannot use it: find out who listens, as with ss -xlp"
            return Finding("bad", "broker", str(refusal), advice, NO_BROKER)
        case code if code == UNPROVED:
            advice = "find out who listens, as with ss -xlp; if it is right, start it with the same --token-file"
            return Finding("bad", "broker", f"answers, and is not trusted: {refusal}", advice, REFUSED)
        case "busy":
            advice = "close connections, or start it with a higher limit"
            return Finding("bad", "broker", f"answers, and is busy: {refusal}", advice, NO_BROKER)
        case _:
            return Finding("bad", "broker", f"answers, and refuses: {refusal}", "update the older of both", NO_BROKER)


def _version(info: dict[str, Any]) -> Finding:
    theirs = str(info.get("version"))
    text = f"{theirs}, protocol {info.get('protocol')}"
    if theirs == __version__:
        return Finding("ok", "version", text)
    return Finding("note", "version", f"{text}; this tool is {__version__}", "they understand each other")


def _numbers(raw: RawConnection, info: dict[str, Any], timeout: float) -> list[Finding]:
    raw.send("STATS", {"id": 1, "detail": True})
    try:
        now = answer(raw, "OK", timeout)
    except Refusal as refusal:
        raw.send("STATS", {"id": 2})
        return [_totals(answer(raw, "OK", timeout)), Finding("note", "clients", str(refusal))]
    if "detail" not in now:
        text = "this broker tells its totals only"
        return [_totals(now), Finding("note", "clients", text, "update it to see its clients and its drops")]
    detail: dict[str, Any] = now["detail"]

    def refused_now() -> dict[str, int]:
        raw.send("STATS", {"id": 4, "detail": True})
        later: dict[str, int] = answer(raw, "OK", timeout)["detail"]["refused"]
        return later

    refused = alerts.refusals(detail["refused"], refused_now)
    return [_totals(now), *_drops(detail), *refused, *_clients(raw, info, detail, timeout)]


def _totals(now: dict[str, Any]) -> Finding:
    text = (
        f"up {duration(now['uptime_seconds'])}, {now['messages_published']} published, "
        f"{now['messages_delivered']} delivered, {counted(now['active_subscribers'], 'subscription')}"
    )
    return Finding("ok", "traffic", text)


def _drops(detail: dict[str, Any]) -> list[Finding]:
    lost = {reason: count for reason, count in detail["dropped"].items() if reason not in _USUAL}
    left = sum(count for reason, count in detail["dropped"].items() if reason in _USUAL)
    usual = f"; {left} waited for readers that went" if left else ""
    if not lost:
        return [Finding("ok", "drops", f"none at the broker{usual}")]
    return [
        Finding("warn", "drops", f"{count} lost: {reason}{usual}", _ADVICE.get(reason), WARN)
        for reason, count in lost.items()
    ]


def _clients(raw: RawConnection, info: dict[str, Any], detail: dict[str, Any], timeout: float) -> list[Finding]:
    found: list[dict[str, Any]] = []
    listing = Listing()
    end = time.monotonic() + _LISTING * timeout
    while True:
        raw.send("STATS", {"id": 3, "clients": True} | ({} if listing.after is None else {"after": listing.after}))
        page = answer(raw, "OK", min(timeout, end - time.monotonic()))
        found += page["clients"]
        if not listing.advance(page["clients"], bool(page.get("more"))):
            break
    waiting = detail["queued_messages"]
    queued = f"{counted(waiting, 'message')} of {detail['queued_bytes']} bytes {'waits' if waiting == 1 else 'wait'}"
    findings = [Finding("ok", "clients", f"{len(found)}, this one included; {queued}")]
    bounds = {"messages": info.get("queue_messages"), "bytes": info.get("queue_bytes")}
    return findings + [slow for one in found if (slow := _slow(one, bounds)) is not None]


def _slow(one: dict[str, Any], bounds: dict[str, int | None]) -> Finding | None:
    """What a client lets wait, if that is nearly all that it may, or if some was lost: it may have asked for less."""
    name = f"{one['name'] or 'one without a name'} (pid {one['pid']})"
    for what, most in bounds.items():
        waits = one[f"queued_{what}"]
        if most and waits >= _NEARLY * most:
            text = f"{name} lets {waits} {what} wait, of {most}"
            return Finding("warn", "clients", text, "it reads too slowly, or not at all", WARN)
    lost = one["dropped"].get("overflow", 0)
    if lost and one["queued_messages"]:
        text = f"{name} lets {counted(one['queued_messages'], 'message')} wait, and has lost {lost}: overflow"
        advice = "it reads too slowly, or not at all, or has asked for a small queue (broker_queue_messages)"
        return Finding("warn", "clients", text, advice, WARN)
    return None
