"""What ``top`` shows: a page that fits the terminal, or a line."""

from __future__ import annotations

from typing import Any, Final

from daemoneye_eventbus._cli.numbers import counted, duration, short, table
from daemoneye_eventbus._cli.output import escape

__all__ = ["HEAD", "line", "page"]

HEAD: Final = (
    f"{'uptime':>10} {'published':>11} {'/s':>8} {'delivered':>11} {'/s':>8} "
    f"{'queued':>8} {'dropped':>8} {'clients':>7}\n"
)
_CLIENTS: Final = ["pid", "uid", "peer", "subs", "pub/s", "dlv/s", "queued", "bytes", "dropped", "name"]
_LEFT: Final = frozenset({2})


def line(row: dict[str, Any]) -> str:
    """The totals alone; what this user is not told is a dash."""
    dropped = sum(row["dropped"].values()) if "dropped" in row else None
    return (
        f"{duration(row['uptime_seconds']):>10} {row['messages_published']:>11} "
        f"{short(row['published_per_second'], 8):>8} {row['messages_delivered']:>11} "
        f"{short(row['delivered_per_second'], 8):>8} {short(row.get('queued_messages'), 8):>8} "
        f"{short(dropped, 8):>8} {short(row.get('connections'), 7):>7}\n"
    )


def page(row: dict[str, Any], reason: str | None, width: int, height: int) -> list[str]:
    """Lines of that width, what matters most first, few beyond ``height``; the busiest clients first."""
    lines = _totals(row)
    if reason is not None:
        lines.append(escape(reason))
    lines.append("")
    clients: list[dict[str, Any]] | None = row.get("clients")
    if clients is not None:
        clients.sort(key=_busy, reverse=True)
        room = max(height - len(lines) - 1, 2)
        shown = clients if len(clients) <= room else clients[: room - 1]
        lines += table([_CLIENTS, *map(_client, shown)], left=_LEFT)
        if len(shown) < len(clients):
            lines.append(f"and {len(clients) - len(shown)} more")
    return [one if len(one) <= width else one[: max(width - 1, 0)] + "\N{HORIZONTAL ELLIPSIS}" for one in lines]


def _totals(row: dict[str, Any]) -> list[str]:
    head = f"up {duration(row['uptime_seconds'])}, {counted(row['active_subscribers'], 'subscription')}"
    head += f" on {counted(row['active_topics'], 'pattern')}"
    if "connections" in row:
        head = f"{head}, {counted(row['connections'], 'connection')}"
    lines = [
        f"{head}; q ends",
        f"published {row['messages_published']:>14} {_per_second(row, 'published'):>10}",
        f"delivered {row['messages_delivered']:>14} {_per_second(row, 'delivered'):>10}",
    ]
    if "dropped" in row:
        lost = sum(row["dropped"].values())
        lines.append(f"dropped   {lost:>14} {_per_second(row, 'dropped'):>10} {_reasons(row['dropped'])}")
        lines.append(f"refused   {sum(row['refused'].values()):>14} {'':>10} {_reasons(row['refused'])}")
        lines.append(f"queued    {row['queued_messages']:>14} {short(row['queued_bytes'], 6) + ' bytes':>12}")
    return [one.rstrip() for one in lines]


def _per_second(row: dict[str, Any], name: str) -> str:
    return short(row[f"{name}_per_second"], 6) + "/s"


def _reasons(counts: dict[str, int]) -> str:
    return ", ".join(f"{escape(reason)} {count}" for reason, count in counts.items())


def _busy(one: dict[str, Any]) -> tuple[float, int, str]:
    rate = (one["published_per_second"] or 0) + (one["delivered_per_second"] or 0)
    return rate, one["queued_messages"], one["id"]


def _client(one: dict[str, Any]) -> list[str]:
    return [
        "-" if one["pid"] is None else str(one["pid"]),
        "-" if one["uid"] is None else str(one["uid"]),
        one["peer"],
        str(one["subscriptions"]),
        short(one["published_per_second"], 6),
        short(one["delivered_per_second"], 6),
        short(one["queued_messages"], 6),
        short(one["queued_bytes"], 6),
        short(sum(one["dropped"].values()), 7),
        escape(one["name"]) or "-",
    ]
