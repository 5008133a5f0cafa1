"""The file system's side of a broker: the way to its socket, the socket file, the lock beside it."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from daemoneye_eventbus._cli.exits import NO_BROKER, OK, REFUSED, WARN
from daemoneye_eventbus._cli.users import effective_uid, shown
from daemoneye_eventbus.errors import PathRefused

if TYPE_CHECKING:
    from collections.abc import Collection

    from daemoneye_eventbus._native import Address

__all__ = ["Finding", "place", "starters", "strange", "usual"]

_LOCKS: Final = Path("/proc/locks")
_EFFECTIVE: Final = os.access in os.supports_effective_ids


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Literal["ok", "note", "warn", "bad"]
    """``note`` is worth knowing, ``warn`` needs attention, ``bad`` keeps somebody from working."""
    subject: str
    text: str
    advice: str | None = None
    code: int = OK

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who holds a lock; not ``sure`` where it may be another file's."""

    pid: int
    sure: bool


def usual() -> tuple[int, ...]:
    """Users whose broker a client of ours speaks to, unless it was told otherwise."""
    if sys.platform == "win32":
        return ()
    return (os.geteuid(), 0)


def place(address: Address, trusted: Collection[int]) -> list[Finding]:
    """Everything that can be seen without connecting; ``trusted`` are the users whose broker is looked for."""
    path = address.path
    findings = [Finding("ok", "path", str(path))]
    if sys.platform == "win32":
        return findings
    try:
        found: os.stat_result | None = path.lstat()
    except FileNotFoundError:
        found = None
    except OSError as error:
        advice = f"run this as the broker's user, or let {shown(effective_uid())} enter the directory"
        return [*findings, Finding("bad", "directory", f"{path.parent}: {error.strerror}", advice, REFUSED)]
    # Whose broker it is, or would be, decides who may own the way to it and the lock.
    expected = starters(path, trusted)
    owners = expected if found is None else [found.st_uid]
    findings.append(_directory(address, owners))
    locked = os.path.lexists(_lock_of(path))
    findings.append(_socket(path, found, trusted, locked=locked))
    if found is not None or locked:
        # A stranger's socket says nothing of the lock that a broker of ours has left.
        if not set(owners) <= set(trusted):
            owners = [*owners, *expected]
        findings.append(_lock(path, owners, lost=found is None))
    return findings


def _directory(address: Address, owners: Collection[int]) -> Finding:
    """What the first says whom it suits; the last if it suits none."""
    found = [_directory_of(address, owner) for owner in owners]
    return next((one for one in found if one.code == OK), found[-1])


def _directory_of(address: Address, owner: int) -> Finding:
    parent = address.path.parent
    try:
        if not address.is_trusted(owner):
            text = f"{parent} is not there yet"
            return Finding("note", "directory", text, "a broker makes it when it starts, for its own user alone")
    except PathRefused as error:
        return Finding("bad", "directory", f"{error.path}: {error.reason}", "a broker refuses to start here", REFUSED)
    except OSError as error:
        return Finding("bad", "directory", str(error), "run this as the broker's user", REFUSED)
    who = f"{shown(owner)} and root" if owner else "root"
    return Finding("ok", "directory", f"only {who} can change what is on the way to {parent}")


def starters(path: Path, trusted: Collection[int]) -> list[int]:
    """Whose broker may be missing at a path: this user's, unless only that of others is looked for, or can be there."""
    own = effective_uid()
    parent = path.parent
    if own in trusted and (not parent.exists() or os.access(parent, os.W_OK, effective_ids=_EFFECTIVE)):
        return [own]
    return [uid for uid in trusted if uid != own] or [own]


def strange(uid: int) -> str:
    """What to do about a broker that runs as somebody whom nobody here trusts."""
    return (
        f"if it is right, tell clients: ClientConfig(server_uids=[{uid}]), --server-uid {uid}; if not, have it stopped "
        f"and its socket removed: a broker of {shown(effective_uid())} starts at no socket of anybody else"
    )


def _socket(path: Path, found: os.stat_result | None, trusted: Collection[int], *, locked: bool) -> Finding:
    if found is None:
        return Finding("note", "socket", f"nothing is at {path}")
    if not stat.S_ISSOCK(found.st_mode):
        advice = "move it away, or choose another path; a broker never removes it"
        return Finding("bad", "socket", f"what is at the path is no socket but {_kind(found)}", advice, REFUSED)
    mode = stat.S_IMODE(found.st_mode)
    text = f"mode {mode:04o}, {shown(found.st_uid)}, gid {found.st_gid}"
    if found.st_uid not in trusted:
        return Finding("bad", "socket", text, strange(found.st_uid), REFUSED)
    if mode & 0o007:
        # A broker sets the mode of a socket that it makes itself, beside which it has a lock.
        remedy = "Start the broker again: it makes it 0600" if locked else "Its maker must: SocketMode=0600 in its unit"
        advice = f"every user can open it; the broker still asks who they are. {remedy}"
        return Finding("warn", "socket", text, advice, WARN)
    if not os.access(path, os.W_OK, effective_ids=_EFFECTIVE):
        advice = (
            f"{shown(effective_uid())} may not open it; run as {shown(found.st_uid)}, or start the broker with "
            "--socket-mode 0660 --socket-group and --allowed-uids"
        )
        return Finding("bad", "socket", text, advice, REFUSED)
    return Finding("ok", "socket", text)


def _kind(found: os.stat_result) -> str:
    kinds = {stat.S_IFLNK: "a symbolic link", stat.S_IFREG: "a file", stat.S_IFDIR: "a directory"}
    return kinds.get(stat.S_IFMT(found.st_mode), "something else")


def _lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _lock(path: Path, owners: Collection[int], *, lost: bool) -> Finding:
    lock = _lock_of(path)
    try:
        found = lock.lstat()
    except FileNotFoundError:
        return Finding("note", "lock", f"no {lock.name}: no broker of ours made this socket itself")
    except OSError as error:
        return Finding("note", "lock", f"{lock}: {error.strerror}")
    mode = stat.S_IMODE(found.st_mode)
    wrong = None
    if not stat.S_ISREG(found.st_mode):
        wrong = "it is no regular file"
    elif found.st_uid not in owners:
        wrong = f"it belongs to {shown(found.st_uid)}"
    elif found.st_nlink != 1:
        wrong = "it has a second name (a hard link)"
    elif mode & 0o077:
        wrong = f"others could hold it (mode {mode:04o})"
    if wrong is not None:
        advice = f"remove {lock} while no broker runs; none starts until then"
        return Finding("bad", "lock", f"{lock.name}: {wrong}", advice, REFUSED)
    return _held(lock, _holder(found), lost=lost)


def _held(lock: Path, holder: _Holder | None, *, lost: bool) -> Finding:
    if holder is None:
        return Finding("note", "lock", f"{lock.name}: nobody is seen to hold it")
    if not holder.sure:
        text = f"{lock.name} may be held by pid {holder.pid}, or a file with its inode number on another file system is"
        return Finding("note", "lock", text)
    if lost:
        text = f"{lock.name} is held by pid {holder.pid}, and its socket file is gone"
        advice = (
            "if it is not just starting: those connected go on and nobody else can connect; "
            f"stop pid {holder.pid}, start the broker again, and find out who removes files there"
        )
        return Finding("bad", "lock", text, advice, NO_BROKER)
    return Finding("ok", "lock", f"{lock.name} is held by pid {holder.pid}")


def _holder(found: os.stat_result) -> _Holder | None:
    """Who holds ``flock`` on a file. Read, never tried: a broker that starts meanwhile would take us for another.

    The kernel names the file by device and inode. Some file systems (btrfs) show another device to ``stat``; there the
    inode alone may be that of a stranger's file on another disk, unless that process is seen to have this one open.
    """
    if sys.platform == "win32":
        return None
    try:
        lines = _LOCKS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}"
    holders: list[_Holder] = []
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 4242 08:01:131077 0 EOF; who waits has an arrow.
        match line.split():
            case [_, "FLOCK", _, _, pid, file, *_] if file.endswith(f":{found.st_ino}") and pid.isdigit():
                sure = file == f"{device}:{found.st_ino}" or _has_open(pid, found)
                holders.append(_Holder(int(pid), sure=sure))
            case _:
                continue
    return max(holders, key=lambda one: one.sure, default=None)


def _has_open(pid: str, file: os.stat_result) -> bool:
    """Whether a process is seen to have ``file`` open; those of other users are not seen."""
    try:
        opened = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    for descriptor in opened:
        with contextlib.suppress(OSError):
            if os.path.samestat(descriptor.stat(), file):
                return True
    return False
