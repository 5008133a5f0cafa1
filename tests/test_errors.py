"""The exceptions: bases, facts, pickles, and the one conversion from the core."""

import asyncio
import pickle

import pytest

import daemoneye_eventbus
from daemoneye_eventbus import _native, errors

BASES = {
    "ConnectionClosed": ConnectionError,
    "ConnectionLost": ConnectionError,
    "ConnectTimeout": TimeoutError,
    "BrokerAlreadyRunning": OSError,
    "PathRefused": OSError,
    "PermissionRefused": PermissionError,
    "AuthenticationFailed": PermissionError,
    "DecodeError": ValueError,
    "FrameTooLarge": ValueError,
    "TopicError": ValueError,
    "PatternError": ValueError,
    "PublishTimeout": TimeoutError,
    "WouldBlock": asyncio.QueueEmpty,
    "WrongLoop": RuntimeError,
    "ForkedProcess": RuntimeError,
    "TransportError": OSError,
}


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_public_and_pickles_with_its_facts(name):
    cls = getattr(daemoneye_eventbus, name)
    assert cls is getattr(errors, name)
    assert issubclass(cls, errors.EventBusError)
    assert issubclass(cls, BASES.get(name, Exception))
    facts = {fact: 7 if fact in ("errno", "limit", "offset") else fact for fact in cls._facts}
    error = cls("what happened", accepted=3, **facts)
    assert str(error) == "what happened"
    error.add_note("in the collector")
    again = pickle.loads(pickle.dumps(error))
    assert again.__notes__ == ["in the collector"]
    assert type(again) is cls
    assert str(again) == "what happened"
    assert again.accepted == 3
    assert {fact: getattr(again, fact) for fact in facts} == facts
    assert str(cls()) == ""
    assert cls().accepted is None


SAMPLES = {
    "ConnectionClosed": {},
    "ConnectionLost": {},
    "SubscriptionClosed": {"subscriber_id": "s-1"},
    "ConnectTimeout": {"path": "/run/bus.sock", "timeout": 5.0, "cause": "why"},
    "BrokerBusy": {},
    "BrokerAlreadyRunning": {"path": "/run/bus.sock", "pid": 7},
    "PathRefused": {"path": "/run/bus.sock", "reason": "why"},
    "PermissionRefused": {"uid": 1000, "reason": "why", "topic": "events.a"},
    "AuthenticationFailed": {},
    "ProtocolError": {},
    "DecodeError": {"dialect": "bincode", "offset": 3, "reason": "why"},
    "FrameTooLarge": {"size": 2, "limit": 1},
    "TopicError": {"topic": "a..b", "reason": "why"},
    "PatternError": {"pattern": "#.a", "reason": "why"},
    "SubscriptionRefused": {"reason": "why", "limit": 4},
    "PublishTimeout": {"timeout": 10.0},
    "PublishNotSupported": {},
    "WouldBlock": {},
    "ForkedProcess": {"owner_pid": 1, "current_pid": 2},
    "ValueError": {},
    "TransportError": {"action": "why", "cause": "why", "errno": 13},
}


@pytest.mark.skipif(not _native.DEBUG_BUILD, reason="the samples are in debug builds only")
def test_each_kind_of_the_core_has_its_class():
    made = {type(error).__name__: error for error in _native._error_samples()}
    assert made.keys() == SAMPLES.keys()
    for name, facts in SAMPLES.items():
        assert {fact: getattr(made[name], fact) for fact in facts} == facts
        assert str(made[name])
