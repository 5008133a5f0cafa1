"""Mappings: of any class in place of a dict, read through their own methods within the limit; what comes of them."""

import copy
import dataclasses
import json
import pickle
from collections import ChainMap, OrderedDict, defaultdict
from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

import pytest

from daemoneye_eventbus import CorrelationMetadata, FrozenMap, ProcessEvent, TriggerRequest


class Unending(Mapping):
    """Says that it has one entry, and never stops."""

    def __init__(self):
        self.asked = 0

    def __len__(self):
        return 1

    def __getitem__(self, key):
        return ""

    def __iter__(self):
        while True:
            self.asked += 1
            # Where nobody stops it, the test is to fail and not the machine.
            assert self.asked < 100_000
            yield str(self.asked)


class UnendingDict(Unending, dict):
    pass


@pytest.mark.parametrize("kind", [Unending, UnendingDict])
@pytest.mark.parametrize(
    ("make", "limit"),
    [
        (lambda given: ProcessEvent(1, "sh", metadata=given), 4096),
        (lambda given: TriggerRequest("r", "c", metadata=given), 4096),
        (lambda given: CorrelationMetadata("c", correlation_tags=given), 64),
    ],
)
def test_one_that_never_ends_is_read_up_to_the_limit(kind, make, limit):
    unending = kind()
    with pytest.raises(ValueError, match=f"at least {limit + 1} entries are above the limit of {limit}; leave some"):
        make(unending)
    assert unending.asked == limit + 1


def test_one_that_never_ends_is_unequal():
    unending = Unending()
    assert ProcessEvent(1, "sh", metadata={"1": ""}).metadata != unending
    assert unending.asked == 2


def test_any_class_is_copied_in():
    full = {str(n): "x" for n in range(4096)}
    for given in (MappingProxyType(full), ChainMap({}, full), OrderedDict(full), defaultdict(str, full)):
        event = ProcessEvent(1, "sh", metadata=given)
        assert event.metadata == given == full
        assert list(event.metadata) == list(given)
    with pytest.raises(ValueError, match="at least 4097 entries are above the limit of 4096"):
        ProcessEvent(1, "sh", metadata=MappingProxyType(full | {"x": ""}))


class Failing(Mapping):
    def __init__(self, where):
        self.where = where

    def fail(self, where):
        if where == self.where:
            raise LookupError(where)

    def __len__(self):
        return 2

    def __iter__(self):
        yield "a"
        self.fail("next")
        yield "b"

    def __getitem__(self, key):
        self.fail("item")
        return "x"

    def keys(self):
        self.fail("keys")
        return super().keys()


@pytest.mark.parametrize("where", ["keys", "next", "item"])
def test_what_its_methods_raise_comes_out(where):
    with pytest.raises(LookupError, match=where):
        ProcessEvent(1, "sh", metadata=Failing(where))


class Asked(Failing):
    @property
    def __class__(self):
        raise LookupError("class")

    def __getattr__(self, name):
        raise AssertionError(name)


def test_an_error_of_its_instance_check_is_raised():
    """It was told to nobody, and a mapping of a class like that refused as none."""
    for take in (lambda given: ProcessEvent(1, "sh", metadata=given), type(ProcessEvent(1, "sh").metadata)):
        with pytest.raises(LookupError, match="class"):
            take(Asked(""))
    with pytest.raises(LookupError, match="class"):
        assert ProcessEvent(1, "sh").metadata != Asked("")


def test_what_an_event_has_is_a_mapping_that_nobody_changes():
    given = {"a": "b", "c": "d"}
    event = ProcessEvent(1, "sh", metadata=given)
    given["a"] = "changed"
    metadata = event.metadata
    assert isinstance(metadata, Mapping)
    assert metadata == {"a": "b", "c": "d"} == dict(metadata)
    assert metadata == FrozenMap({"c": "d", "a": "b"})
    assert hash(metadata) == hash(FrozenMap({"c": "d", "a": "b"}))
    assert event == ProcessEvent(1, "sh", metadata={"c": "d", "a": "b"})
    assert hash(event) == hash(ProcessEvent(1, "sh", metadata={"c": "d", "a": "b"}))
    assert (list(metadata), list(metadata.keys()), list(metadata.values())) == (
        ["a", "c"],
        ["a", "c"],
        ["b", "d"],
    )
    assert (list(metadata.items()), list(reversed(metadata))) == (
        [("a", "b"), ("c", "d")],
        ["c", "a"],
    )
    assert (metadata["a"], metadata.get("a"), metadata.get("x"), metadata.get("x", "y")) == (
        "b",
        "b",
        None,
        "y",
    )
    assert ("a" in metadata, "x" in metadata, len(metadata), repr(metadata)) == (
        True,
        False,
        2,
        repr(dict(metadata)),
    )
    assert {**metadata} == dict(metadata)
    assert type(copy.deepcopy(metadata)) is dict
    assert copy.copy(metadata) is metadata
    assert pickle.loads(pickle.dumps(metadata)) == metadata
    assert event.metadata is metadata
    assert json.dumps(dataclasses.asdict(event)["metadata"]) == '{"a": "b", "c": "d"}'
    assert ProcessEvent(1, "sh", metadata=metadata) == event
    with pytest.raises(KeyError):
        metadata["x"]
    with pytest.raises(TypeError):
        metadata["a"] = "b"
    with pytest.raises(TypeError):
        FrozenMap({"a": []})
    assert metadata != 5
    match metadata:
        case {"a": value}:
            assert value == "b"


def test_two_maps_are_one_with_the_value_on_the_right():
    event = ProcessEvent(1, "sh", metadata={"a": "b", "c": "d"})
    more = {"c": "e", "f": "g"}
    together = event.metadata | more
    assert type(together) is FrozenMap
    assert list(together.items()) == [("a", "b"), ("c", "e"), ("f", "g")]
    assert list((more | event.metadata).items()) == [("c", "d"), ("f", "g"), ("a", "b")]
    assert event.metadata | MappingProxyType(more) == together
    assert event.metadata | FrozenMap(more) == together
    assert event.metadata == {"a": "b", "c": "d"}
    enriched = dataclasses.replace(event, metadata=event.metadata | more)
    assert enriched.metadata == together
    growing = event.metadata
    growing |= more
    assert growing == together
    assert event.metadata == {"a": "b", "c": "d"}
    for other in (None, 5, [("c", "e")], {"c"}):
        with pytest.raises(TypeError, match="unsupported operand"):
            event.metadata | other
        with pytest.raises(TypeError, match="unsupported operand"):
            other | event.metadata
    with pytest.raises(TypeError, match=r"^FrozenMap\.value: expected str or int, got list$"):
        event.metadata | {"c": []}
    half = FrozenMap({f"a{number}": 0 for number in range(40_000)})
    with pytest.raises(ValueError, match=r"^FrozenMap\.mapping: at least 80000 entries are above the limit of 65536;"):
        half | {f"b{number}": 0 for number in range(40_000)}


def test_a_map_takes_text_and_integers_as_they_are_under_subclasses():
    class Text(str):
        __slots__ = ()

    class Kind(IntEnum):
        FIRST = 1

    class Number(int):
        __index__ = __int__ = None

    given = {"a": Text("b"), "c": Kind.FIRST, "d": Number(2**100), "e": -5}
    made = FrozenMap(given)
    assert made == given
    assert [type(value) for value in made.values()] == [str, int, int, int]
    assert repr(made) == f"{{'a': 'b', 'c': 1, 'd': {2**100}, 'e': -5}}"
    for value, name in [(True, "bool"), (1.0, "float"), (None, "NoneType"), ([], "list")]:
        with pytest.raises(TypeError, match=rf"^FrozenMap\.value: expected str or int, got {name}$"):
            FrozenMap({"a": value})


def test_who_compares_is_given_a_copy():
    """A class derived from `dict` is asked first whether it is equal, and what it was given could be changed."""

    class Curious(dict):
        def __eq__(self, other):
            other["x"] = "y"
            return other == {"a": "b", "x": "y"}

        __hash__ = None

    event = ProcessEvent(1, "sh", metadata={"a": "b"})
    metadata = event.metadata
    assert metadata == Curious()
    for view in (metadata.keys(), metadata.values(), metadata.items()):
        assert view.mapping == Curious()
    assert metadata == {"a": "b"} == dict(metadata)
    assert repr(metadata) == "{'a': 'b'}"
    assert pickle.loads(pickle.dumps(event)) == event
