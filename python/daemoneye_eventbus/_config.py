"""The configurations of brokers and clients: fields are checked, also against each other, when one is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final, Literal, cast

from daemoneye_eventbus import _checks
from daemoneye_eventbus._checks import (
    bounded,
    choice,
    flags,
    integer,
    items,
    number,
    only_elsewhere,
    own_uid,
    pairs,
    place,
    short,
    sids,
    store,
    uids,
    wrong_type,
)
from daemoneye_eventbus._native import _original_pattern_refusal, _pattern_refusal
from daemoneye_eventbus._rights import RateLimit, Rule
from daemoneye_eventbus._secret import Secret

__all__ = ["BrokerConfig", "ClientConfig"]

_DIALECTS: Final = ("bincode", "postcard")
"""What a connection can speak; `wire` knows more."""
_LARGEST_FRAME: Final = 64 * 1024 * 1024
_SMALLEST_FRAME: Final = 1024
_MAX_NAME: Final = 256
_SHORTEST: Final = 1e-6
_LONGEST: Final = 7 * 24 * 3600
"""Seconds; a longer wait is a mistake."""
_SHORTEST_TOKEN: Final = 16
_NAME_AND_SECRET: Final = 2
_OWNER_ONLY: Final = 0o600
_OWNER_AND_GROUP: Final = 0o660


def _integer(owner: object, name: str, low: int, high: int = 2**63 - 1) -> None:
    store(owner, name, integer(place(owner, name), getattr(owner, name), low, high))


def _seconds(owner: object, *names: str, least: float = _SHORTEST) -> None:
    for name in names:
        store(owner, name, number(place(owner, name), getattr(owner, name), least, _LONGEST, "seconds"))


def _choice(owner: object, name: str, *known: str) -> None:
    choice(place(owner, name), getattr(owner, name), *known)


def _uids(owner: object, name: str) -> None:
    store(owner, name, uids(place(owner, name), getattr(owner, name)))


def _sids(owner: object, name: str) -> None:
    store(owner, name, sids(place(owner, name), getattr(owner, name)))


def _token(owner: object, value: object) -> Secret:
    if not isinstance(value, bytes):
        raise wrong_type(place(owner, "token"), "bytes", value)
    if len(value) < _SHORTEST_TOKEN:
        raise ValueError(
            f"{place(owner, 'token')}: {len(value)} bytes are too few, at least {_SHORTEST_TOKEN} are needed; "
            "use 32 random ones"
        )
    return Secret(value)


def _tokens(owner: object, given: object) -> tuple[bytes | tuple[str, bytes], ...]:
    """All tokens of a broker; those with a name as pairs."""
    if isinstance(given, bytes):
        return (_token(owner, given),)
    if isinstance(given, Mapping):
        of_names = pairs(place(owner, "token"), cast("object", given), "a mapping")
        return tuple(pair for name, tokens in of_names for pair in _named(owner, name, tokens))
    if not isinstance(given, list | tuple):
        raise wrong_type(place(owner, "token"), "bytes, several, or a mapping", given)
    several: list[bytes | tuple[str, bytes]] = []
    for one in bounded(place(owner, "token"), cast("Sequence[object]", given)):
        if not isinstance(one, tuple):
            several.append(_token(owner, one))
            continue
        pair = cast("tuple[object, ...]", one)
        several.extend(_named(owner, *pair) if len(pair) == _NAME_AND_SECRET else [_token(owner, pair)])
    return tuple(several)


def _named(owner: object, name: object, tokens: object) -> list[tuple[str, bytes]]:
    if not isinstance(name, str):
        raise wrong_type(place(owner, "token"), "names as str", name)
    if not name or not name.isprintable():
        raise ValueError(f"BrokerConfig.token: a name needs printable characters, got {short(name)}")
    several = cast("Sequence[object]", tokens) if isinstance(tokens, list | tuple) else (tokens,)
    return [(name, _token(owner, token)) for token in bounded(place(owner, "token"), several)]


def _patterns(
    name: str,
    patterns: Sequence[object],
    max_depth: int,
    refusal_of: Callable[[str, int], str | None] = _pattern_refusal,
) -> None:
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise wrong_type(f"BrokerConfig.{name}", "patterns as str", pattern)
        try:
            refusal = refusal_of(pattern, max_depth)
        except UnicodeEncodeError:
            refusal = f"{short(pattern)} is not Unicode, and no topic has that"
        if refusal is None:
            continue
        if pattern.count(".") >= max_depth:
            refusal = f"{refusal}; give patterns of {max_depth} segments at most there, or raise max_topic_depth"
        raise ValueError(f"BrokerConfig.{name}: {refusal}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """Every limit of a broker. Sizes are bytes, times seconds.

    ``daemoneye-eventbus broker --help`` and the page on operations explain each setting. A refused setting raises
    ``ValueError`` or ``TypeError``, which names it.

    Attributes:
        max_frame: Largest frame body in bytes, 1 KiB to 64 MiB; a body of exactly this size is accepted.
        max_connections: Connections at once; further ones are told that the broker is busy.
        max_connections_per_uid: Connections at once of one uid other than the broker's own, which is exempt. No such
            uid gets the last of `max_connections` (unless that is 1).
        allowed_uids: Uids that may connect besides the broker's own.
        socket_mode: Mode of the socket file: 0o600, or 0o660 with `socket_group`.
        socket_group: Gid of the socket file; needed if `allowed_uids` lists uids other than root.
        allowed_sids: Windows: SIDs of users and groups that may connect besides the broker's own user and SYSTEM.
        handshake_timeout: Seconds from accept to CONNECT, and from INFO to the proof of a token.
        frame_timeout: Seconds from the first byte of a frame to its last.
        write_timeout: Seconds within which a connection that is being closed must take some of what is left for it.
        stall_timeout: Seconds after which publishers no longer wait for a full queue whose reader takes no message.
        ping_interval: Seconds of silence after which a client is pinged.
        ping_timeout: Seconds of silence after which a client is disconnected.
        queue_messages: Messages queued for one connection, at most.
        queue_bytes: Bytes queued for one connection, at most.
        total_queue_bytes: Bytes in all queues, plus 160 for the entry of each message; above it the largest queue is
            trimmed first. Publishers with ``congestion="block"`` wait instead.
        overflow: What a full queue does, unless the client asked for something else.
        max_patterns_per_client: Patterns over all subscriptions of one connection.
        max_filter_terms: Terms over both filters of one subscription; 16 times as many over all of a client, with 1
            MiB of text.
        max_topic_depth: Segments of a topic.
        dialect: Dialect of the buses in the broker's own process: the sizes of their messages are measured in it, and
            what other processes publish is translated into it for them. A connection speaks that of its
            ``ClientConfig.dialect``.
        original_peers: Whether peers of the Rust original are served; with a token only if ``original_auth`` is on.
        max_original_peers: Peers of the original at once; a connection that sends nothing for ``handshake_timeout``
            counts as one. A uid other than the broker's own cannot take the last place (unless the limit is 1).
        original_patterns: What a peer of the original is sent; `Broker.subscribe_client` replaces it for one of them.
            Patterns of its own grammar: ``+`` for one segment, ``#`` at the end, domains ``events`` and ``control``.
        original_dialect: Dialect in which a peer of the original is sent messages until it has sent one.
        original_auth: Whether peers of the original must prove the token, within 35 s; needs a token.
        token: Shared secret of at least 16 bytes, or several during rotation: each client must prove one. A mapping
            gives them names for `rules`. Never shown, but a pickle contains it in clear.
        rules: Who may publish and subscribe to what; of the rules for a client, the first that matches a topic
            decides.
        rate_limit: How fast clients may publish and connect: one limit for each client, one for each uid, or both.
    """

    max_frame: int = 1024 * 1024
    max_connections: int = 256
    max_connections_per_uid: int = 64
    allowed_uids: Sequence[int] = ()
    socket_mode: int = 0o600
    socket_group: int | None = None
    allowed_sids: Sequence[str] = ()
    handshake_timeout: float = 2.0
    frame_timeout: float = 10.0
    write_timeout: float = 5.0
    stall_timeout: float = 5.0
    ping_interval: float = 30.0
    ping_timeout: float = 90.0
    queue_messages: int = 65_536
    queue_bytes: int = 8 * 1024 * 1024
    total_queue_bytes: int = 256 * 1024 * 1024
    overflow: Literal["drop_oldest", "drop_newest", "disconnect"] = "drop_oldest"
    max_patterns_per_client: int = 1024
    max_filter_terms: int = 256
    max_topic_depth: int = 8
    dialect: Literal["bincode", "postcard"] = "bincode"
    original_peers: bool = True
    max_original_peers: int = 16
    original_patterns: Sequence[str] = ("events.#",)
    original_dialect: Literal["bincode", "postcard"] = "postcard"
    original_auth: bool = False
    token: bytes | Sequence[bytes | tuple[str, bytes]] | Mapping[str, bytes | Sequence[bytes]] | None = field(
        default=None, repr=False
    )
    rules: Sequence[Rule] = ()
    rate_limit: RateLimit | Sequence[RateLimit] | None = None

    def __post_init__(self) -> None:
        _integer(self, "max_frame", _SMALLEST_FRAME, _LARGEST_FRAME)
        for name in ("max_connections", "max_connections_per_uid"):
            _integer(self, name, 1, 2**16)
        _integer(self, "queue_messages", 1, 2**30)
        _integer(self, "queue_bytes", 1, 2**40)
        _integer(self, "total_queue_bytes", 1, 2**40)
        _integer(self, "max_patterns_per_client", 1, 2**20)
        _integer(self, "max_filter_terms", 0, 2**20)
        _integer(self, "max_original_peers", 0, 2**16)
        _integer(self, "max_topic_depth", 1, 128)
        _integer(self, "socket_mode", 0)
        if self.socket_group is not None:
            _integer(self, "socket_group", 0, 2**32 - 2)
        _uids(self, "allowed_uids")
        _sids(self, "allowed_sids")
        _seconds(self, "handshake_timeout", "frame_timeout", "write_timeout", "stall_timeout")
        _seconds(self, "ping_interval", "ping_timeout")
        _choice(self, "overflow", "drop_oldest", "drop_newest", "disconnect")
        _choice(self, "dialect", *_DIALECTS)
        _choice(self, "original_dialect", *_DIALECTS)
        flags(self, "original_peers", "original_auth")
        where = place(self, "original_patterns")
        store(self, "original_patterns", items(where, self.original_patterns, "a sequence of patterns"))
        _patterns("original_patterns", self.original_patterns, self.max_topic_depth, _original_pattern_refusal)
        if self.token is not None:
            tokens = _tokens(self, self.token)
            if not tokens:
                raise ValueError("BrokerConfig.token: an empty list would ask for no proof at all; use None for that")
            store(self, "token", tokens)
        self._check_rights()
        self._check_together()

    def __repr__(self) -> str:
        # A mode is read and written in octal.
        shown = ((item.name, getattr(self, item.name)) for item in fields(self) if item.repr)
        texts = (f"{name}={value:#o}" if name == "socket_mode" else f"{name}={value!r}" for name, value in shown)
        return f"{type(self).__qualname__}({', '.join(texts)})"

    def _check_rights(self) -> None:
        where = place(self, "rules")
        rules = items(where, self.rules, "a sequence of Rule")
        for rule in rules:
            if not isinstance(rule, Rule):
                raise wrong_type(where, "Rule", rule)
        store(self, "rules", rules)
        named: dict[bytes, str | None] = {}
        for one in cast("tuple[bytes | tuple[str, bytes], ...]", self.token or ()):
            name, token = (None, one) if isinstance(one, bytes) else one
            if (other := named.setdefault(token, name)) != name:
                both = " and ".join("no name" if one is None else short(one) for one in (other, name))
                raise ValueError(
                    f"BrokerConfig.token: one secret has {both}, and no proof tells which is meant; give each its own"
                )
        names = set(named.values())
        for rule in self.rules:
            _patterns("rules", (*rule.publish, *rule.subscribe), self.max_topic_depth)
            for name in rule.tokens or ():
                if name not in names:
                    raise ValueError(f"BrokerConfig.rules: no token is named {short(name)}; give `token` as a mapping")
        if isinstance(self.rate_limit, RateLimit | None):
            return
        given = items(place(self, "rate_limit"), self.rate_limit, "RateLimit")
        limits = [limit for limit in given if isinstance(limit, RateLimit)]
        if len(limits) < len(given):
            raise TypeError("BrokerConfig.rate_limit: expected RateLimit, or one per client and one per uid")
        if len({limit.per for limit in limits}) < len(limits):
            raise ValueError("BrokerConfig.rate_limit: two limits of the same kind; give one per client, one per uid")
        store(self, "rate_limit", given)

    def _check_together(self) -> None:
        if _checks.WINDOWS:
            only_elsewhere(self, "allowed_uids", "socket_mode", "socket_group", instead="allowed_sids")
        else:
            only_elsewhere(self, "allowed_sids", instead="allowed_uids, socket_mode and socket_group")
        if self.socket_mode not in {_OWNER_ONLY, _OWNER_AND_GROUP}:
            octal = "; modes are octal" if self.socket_mode in {600, 660} else ""
            raise ValueError(f"BrokerConfig.socket_mode: must be 0o600 or 0o660, got {self.socket_mode:#o}{octal}")
        if self.socket_mode == _OWNER_AND_GROUP and self.socket_group is None:
            raise ValueError("BrokerConfig.socket_group: a socket of mode 0o660 needs the group that may use it")
        if self.socket_mode == _OWNER_ONLY and self.socket_group is not None:
            raise ValueError("BrokerConfig.socket_group: has no effect with mode 0o600; set socket_mode=0o660")
        # Root opens any socket, its owner this one; everybody else needs the mode to let them in.
        if set(self.allowed_uids) - {0, own_uid()} and self.socket_mode != _OWNER_AND_GROUP:
            raise ValueError(
                "BrokerConfig.allowed_uids: others cannot open a socket of mode 0o600; "
                "set socket_mode=0o660 and socket_group to a group they are in"
            )
        if self.ping_timeout <= self.ping_interval:
            raise ValueError(
                f"BrokerConfig.ping_timeout: must be above ping_interval ({self.ping_interval:g} s), "
                f"got {self.ping_timeout:g}; raise it"
            )
        if self.original_auth and not self.token:
            raise ValueError("BrokerConfig.original_auth: needs a token; set token, or turn it off")
        if self.original_auth and not self.original_peers:
            raise ValueError(
                "BrokerConfig.original_auth: has no effect without original_peers; turn that on, or this off"
            )
        if len(self.original_patterns) > self.max_patterns_per_client:
            raise ValueError(
                f"BrokerConfig.original_patterns: {len(self.original_patterns)} are above max_patterns_per_client "
                f"({self.max_patterns_per_client}); raise that, or give fewer"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """Every setting of a bus. Sizes are bytes, times seconds.

    The page on operations explains each setting. A refused setting raises ``ValueError`` or ``TypeError``, which
    names it.

    Attributes:
        client: A name for operators, at most 256 bytes.
        dialect: Encoding requested from the broker.
        peer: What is expected at the other end: a broker of this package, or one of the Rust original. It is not
            detected. With ``"original"`` nothing can be published (`PublishNotSupported`: that broker reads nothing
            from its clients), ``overflow="block"`` is refused, and what the broker's own program sends is matched and
            filtered by this client, in whichever dialect it comes.
        congestion: ``"block"``: this publisher waits for readers whose queues are full. ``"drop"``: their own policy
            applies.
        broker_overflow: What the broker's queue for this connection does when it is full.
        broker_queue_messages: Messages queued at the broker for this connection; ``None`` = the broker's limit, which
            also caps this.
        broker_queue_bytes: Bytes queued at the broker for this connection; ``None`` = the broker's limit, which also
            caps this.
        send_buffer_bytes: Bytes published and not yet handed to the kernel; above it publish waits.
        max_frame: Largest frame body in bytes; the smaller value of both sides applies.
        connect_timeout: Seconds that `connect` waits for a connection, and each subscription with
            ``overflow="block"`` for its own, retries included.
        publish_timeout: Seconds that a publish waits for space in the send buffer, or in process in a queue.
        reconnect: Whether the bus reconnects after the connection breaks.
        reconnect_initial: Longest first wait before reconnecting, in seconds. It doubles each time; each wait is
            random below it.
        reconnect_max: Longest later wait, in seconds.
        server_uids: Uids the broker may run as; ``None`` = our own and root.
        server_sids: Windows: SIDs the broker's pipe may belong to; ``None`` = our own, SYSTEM, and Administrators.
        token: Shared secret of at least 16 bytes that both sides prove. Never shown, but a pickle contains it in
            clear.
        pool: Whether buses of the same process, loop, address and config share one connection.
    """

    client: str | None = None
    dialect: Literal["bincode", "postcard"] = "bincode"
    peer: Literal["native", "original"] = "native"
    congestion: Literal["drop", "block"] = "drop"
    broker_overflow: Literal["drop_oldest", "drop_newest", "disconnect"] = "drop_oldest"
    broker_queue_messages: int | None = None
    broker_queue_bytes: int | None = None
    send_buffer_bytes: int = 4 * 1024 * 1024
    max_frame: int = 1024 * 1024
    connect_timeout: float = 5.0
    publish_timeout: float = 10.0
    reconnect: bool = True
    reconnect_initial: float = 0.05
    reconnect_max: float = 5.0
    server_uids: Sequence[int] | None = None
    server_sids: Sequence[str] | None = None
    token: bytes | None = field(default=None, repr=False)
    pool: bool = True

    def __post_init__(self) -> None:
        if self.client is not None:
            if not isinstance(self.client, str):
                raise wrong_type(place(self, "client"), "str", self.client)
            if len(self.client.encode(errors="replace")) > _MAX_NAME or not self.client.isprintable():
                got = short(self.client)
                raise ValueError(f"ClientConfig.client: must be printable text of at most {_MAX_NAME} bytes, got {got}")
        _choice(self, "dialect", *_DIALECTS)
        _choice(self, "peer", "native", "original")
        _choice(self, "congestion", "drop", "block")
        _choice(self, "broker_overflow", "drop_oldest", "drop_newest", "disconnect")
        for name in ("broker_queue_messages", "broker_queue_bytes"):
            if getattr(self, name) is not None:
                _integer(self, name, 1)
        _integer(self, "send_buffer_bytes", 1)
        _integer(self, "max_frame", _SMALLEST_FRAME, _LARGEST_FRAME)
        _seconds(self, "connect_timeout", "publish_timeout", least=0)
        _seconds(self, "reconnect_initial", "reconnect_max")
        if self.reconnect_max < self.reconnect_initial:
            raise ValueError(
                f"ClientConfig.reconnect_max: must be at least reconnect_initial ({self.reconnect_initial:g} s), "
                f"got {self.reconnect_max:g}"
            )
        flags(self, "reconnect", "pool")
        if self.server_uids is not None:
            _uids(self, "server_uids")
        if self.server_sids is not None:
            _sids(self, "server_sids")
        if _checks.WINDOWS:
            only_elsewhere(self, "server_uids", instead="server_sids")
        else:
            only_elsewhere(self, "server_sids", instead="server_uids")
        if self.token is not None:
            store(self, "token", _token(self, self.token))

    def _key(self) -> tuple[object, ...]:
        """What two configs must agree on to share a connection."""
        return tuple(getattr(self, item.name) for item in fields(self))
