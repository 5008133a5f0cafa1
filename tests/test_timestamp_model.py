"""Timestamp beside a naive model: integers, nanoseconds since 1970, say what is earlier, equal and apart."""

import bisect
import operator
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemoneye_eventbus import Timestamp

ORDERINGS = (operator.lt, operator.le, operator.gt, operator.ge)
FIRST, LAST = Timestamp.min.ns, Timestamp.max.ns
# What decides: nanoseconds, microseconds, seconds, the zones' hours.
DISTANCES = (0, 1, 999, 1000, 1001, 10**9, 3600 * 10**9, 7200 * 10**9)


class Derived(Timestamp):
    """A class of somebody else, whose constructor has to be called."""

    made = 0

    def __new__(cls, *parts, **named):
        cls.made += 1
        return super().__new__(cls, *parts, **named)


class Plain(datetime):
    """A derived class that changes nothing. Asked first, it knows of microseconds only."""


class Backwards(datetime):
    """A derived class that has an order of its own."""

    def __lt__(self, other):
        return datetime.__gt__(self, other)

    def __gt__(self, other):
        return datetime.__lt__(self, other)


class Fixed(tzinfo):
    """UTC as another object, and a zone that does not know its offset: its times are naive."""

    def __init__(self, offset):
        self.offset = offset

    def utcoffset(self, _):
        return self.offset


class Repeating(tzinfo):
    """A zone whose every hour comes twice."""

    def utcoffset(self, moment):
        return timedelta(hours=1 if moment.fold else 2)


ZERO = Fixed(timedelta(0))
ZONES = (UTC, ZERO, Repeating(), timezone(timedelta(hours=1)), timezone(-timedelta(hours=2)), Fixed(None), None)


def nanoseconds(moment):
    """Since 1970; ``None`` of what is naive."""
    offset = moment.utcoffset()
    if offset is None:
        return None
    clock = datetime(moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second)
    passed = clock - offset - datetime(1970, 1, 1)
    seconds = passed.days * 86400 + passed.seconds
    return (seconds * 10**6 + moment.microsecond) * 1000 + getattr(moment, "nanosecond", 0)


def equals_none(moment):
    """PEP 495: a time of another zone equals none if that zone's clock shows it twice."""
    return isinstance(moment.tzinfo, Repeating)


INTEGERS = st.integers(-(10**18), 10**19) | st.integers(-1000, 1000).map(lambda n: n * 10**9)


@st.composite
def pairs(draw):
    """A timestamp, and a moment that is often near it: of any class, in any zone."""
    ns = draw(INTEGERS)
    one = draw(st.sampled_from((Timestamp, Derived))).from_ns(ns)
    ns += draw(st.sampled_from((-1, 1))) * draw(st.sampled_from(DISTANCES) | st.integers(0, 10**18))
    if draw(st.booleans()):
        return one, draw(st.sampled_from((Timestamp, Derived))).from_ns(ns)
    clock = datetime(1970, 1, 1) + timedelta(microseconds=ns // 1000)
    cls, zone = draw(st.sampled_from((datetime, Plain))), draw(st.sampled_from(ZONES))
    parts = (clock.year, clock.month, clock.day, clock.hour, clock.minute, clock.second, clock.microsecond)
    return one, cls(*parts, zone, fold=draw(st.sampled_from((0, 1))))


@given(pairs())
def test_order_and_equality(pair):
    one, other = pair
    a, b = nanoseconds(one), nanoseconds(other)
    equal = a == b and not equals_none(other)
    assert (one == other, one != other) == (equal, not equal)
    if equal:
        assert hash(one) == hash(other)
    if not isinstance(other, Plain):
        assert (other == one, other != one) == (equal, not equal)
    for compare in ORDERINGS:
        if b is None:
            for x, y in (pair, pair[::-1]):
                with pytest.raises(TypeError, match="can't compare offset-naive and offset-aware datetimes"):
                    compare(x, y)
        else:
            assert compare(one, other) is compare(a, b)
            if not isinstance(other, Plain):
                assert compare(other, one) is compare(b, a)


@given(pairs())
def test_difference(pair):
    one, other = pair
    a, b = nanoseconds(one), nanoseconds(other)
    if b is None:
        for x, y in (pair, pair[::-1]):
            with pytest.raises(TypeError, match="can't subtract offset-naive and offset-aware datetimes"):
                x - y
    else:
        apart = timedelta(microseconds=a // 1000 - b // 1000)
        assert (one - other, other - one) == (apart, -apart)
        assert type(one - other) is timedelta


@given(st.sampled_from((Timestamp, Derived)), st.integers(FIRST, LAST), st.timedeltas())
def test_sum(cls, ns, delta):
    one = cls.from_ns(ns)
    for moved, total in (
        (lambda: one + delta, ns + delta // timedelta(microseconds=1) * 1000),
        (lambda: delta + one, ns + delta // timedelta(microseconds=1) * 1000),
        (lambda: one - delta, ns - delta // timedelta(microseconds=1) * 1000),
    ):
        if FIRST <= total <= LAST:
            assert nanoseconds(moved()) == total
            assert type(moved()) is cls
        else:
            with pytest.raises(OverflowError, match="date value out of range"):
                moved()


@given(st.sampled_from((Timestamp, Derived)), st.integers(FIRST - 2000, FIRST) | st.integers(FIRST, LAST + 2000))
def test_of_nanoseconds(cls, ns):
    if FIRST <= ns <= LAST:
        one = cls.from_ns(ns)
        assert (type(one), one.ns, nanoseconds(one), one.tzinfo, one.fold) == (cls, ns, ns, UTC, 0)
    else:
        with pytest.raises(OverflowError, match=r"ns: lies beyond the years 1 to 9999"):
            cls.from_ns(ns)


@given(st.lists(st.integers(0, 5000) | INTEGERS, min_size=1))
def test_collections(numbers):
    moments = [Timestamp.from_ns(ns) for ns in numbers]
    mixed = [m.replace(tzinfo=ZERO) if m.nanosecond == 0 and m.microsecond % 2 else m for m in moments]
    for given_ in (moments, mixed):
        assert [nanoseconds(m) for m in sorted(given_)] == sorted(numbers)
        assert nanoseconds(max(given_)) == max(numbers)
        assert {nanoseconds(m) for m in set(given_)} == set(numbers)
        assert len(set(given_)) == len(set(numbers))
        assert bisect.bisect_left(sorted(given_), moments[0]) == bisect.bisect_left(sorted(numbers), numbers[0])


@pytest.mark.parametrize("other", [None, 5, "2026-01-09", object(), timedelta(1)])
def test_what_is_no_moment(other):
    one = Timestamp.from_ns(1_767_916_800_123_456_789)
    assert (one == other, other == one, one != other, other != one) == (False, False, True, True)
    for compare in ORDERINGS:
        for x, y in ((one, other), (other, one)):
            with pytest.raises(TypeError, match="not supported between instances"):
                compare(x, y)
    if not isinstance(other, timedelta):
        with pytest.raises(TypeError, match="unsupported operand"):
            one - other
    with pytest.raises(TypeError, match="unsupported operand"):
        other - one


@pytest.mark.parametrize("nanosecond", [0, 1])
def test_a_date_is_no_moment(nanosecond):
    """Its day was compared, so that every moment of the day was equal to it."""
    one, day = Timestamp(2026, 1, 9, nanosecond=nanosecond), date(2026, 1, 9)
    assert (one == day, day == one, one != day, day != one) == (False, False, True, True)
    for compare in ORDERINGS:
        for x, y in ((one, day), (day, one)):
            with pytest.raises(TypeError, match="datetime.datetime"):
                compare(x, y)


class Agreeing:
    """Something that compares itself with whatever asks."""

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False

    def __lt__(self, other):
        return "after"

    def __gt__(self, other):
        return "before"

    def __rsub__(self, other):
        return "apart"

    __hash__ = None


def test_what_knows_itself_is_asked():
    one, other = Timestamp.from_ns(1), Agreeing()
    assert (one == other, one != other, one < other, one > other, one - other) == (
        True,
        False,
        "before",
        "after",
        "apart",
    )


@pytest.mark.parametrize("zone", [UTC, ZERO])
def test_a_derived_class_with_an_order_of_its_own_is_asked(zone):
    one, later = Timestamp(2026, 1, 9), Backwards(2026, 1, 10, tzinfo=zone)
    assert (one < later, one > later, later < one, later > one) == (False, True, True, False)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Derived.from_ns(1),
        lambda: Derived.now(),
        lambda: Derived.of(datetime(2026, 1, 9, tzinfo=UTC)),
        lambda: Derived.fromisoformat("2026-01-09T00:00:00.123456789Z"),
    ],
)
def test_a_derived_class_makes_its_own(make):
    before = Derived.made
    assert type(make()) is Derived
    assert Derived.made > before
