"""Timestamp: a datetime with nanoseconds."""

import copy
import pickle
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemoneye_eventbus import CorrelationMetadata, ProcessEvent, Timestamp

NS = st.integers(min_value=0, max_value=253_402_300_799_999_999_999)
T = Timestamp.from_ns(1_767_916_800_123_456_789)


@given(NS)
def test_every_nanosecond_survives(ns):
    time = Timestamp.from_ns(ns)
    assert time.ns == ns
    assert pickle.loads(pickle.dumps(time)).ns == ns
    assert Timestamp.fromisoformat(time.isoformat()) == time
    assert eval(repr(time), {"Timestamp": Timestamp}) == time  # the repr is our own
    assert (time + timedelta(0)).ns == ns


@given(NS)
def test_a_field_returns_what_was_given(ns):
    event = ProcessEvent(1, "sh", start_time=Timestamp.from_ns(ns))
    assert event.start_time_ns == ns
    assert type(event.start_time) is Timestamp
    assert event.start_time.ns == ns
    assert event.start_time.tzinfo is UTC


@given(NS, NS)
def test_order_is_that_of_nanoseconds(a, b):
    x, y = Timestamp.from_ns(a), Timestamp.from_ns(b)
    assert (x < y, x <= y, x > y, x >= y, x == y) == (a < b, a <= b, a > b, a >= b, a == b)
    plain = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=b // 1000)
    b = b // 1000 * 1000
    assert (x < plain, x <= plain, x > plain, x >= plain, x == plain) == (
        a < b,
        a <= b,
        a > b,
        a >= b,
        a == b,
    )
    assert (plain < x, plain <= x, plain > x, plain >= x, plain == x) == (
        b < a,
        b <= a,
        b > a,
        b >= a,
        b == a,
    )
    if x == plain:
        assert hash(x) == hash(plain)


class Repeating(tzinfo):
    """A zone whose every hour comes twice."""

    def utcoffset(self, moment):
        return timedelta(hours=1 if moment.fold else 2)


@pytest.mark.parametrize("fold", [0, 1])
def test_order_is_that_of_moments_in_an_hour_that_a_zone_has_twice(fold):
    """Such a time equals no moment, by PEP 495; nanoseconds were not looked at then."""
    local = datetime(2024, 10, 27, 2, 30, tzinfo=Repeating(), fold=fold)
    assert Timestamp.of(local) != local
    for nanoseconds in (-1001, -1, 0, 1, 1001):
        x = Timestamp.from_ns(Timestamp.of(local).ns + nanoseconds)
        order = (nanoseconds < 0, nanoseconds <= 0, nanoseconds > 0, nanoseconds >= 0)
        assert (x < local, x <= local, x > local, x >= local) == order
        assert (local > x, local >= x, local < x, local <= x) == order


@pytest.mark.parametrize("hours", [-14, 14])
def test_moments_beyond_utc_are_ordered_too(hours):
    zone = timezone(timedelta(hours=hours))
    assert (Timestamp.max < datetime.max.replace(tzinfo=zone)) == (hours < 0)
    assert (Timestamp.min > datetime.min.replace(tzinfo=zone)) == (hours > 0)
    with pytest.raises(TypeError, match="can't compare offset-naive and offset-aware"):
        assert Timestamp.max < datetime.max


def test_parts():
    assert T.nanosecond == 789
    assert T.microsecond == 123456
    assert repr(T) == "Timestamp(2026, 1, 9, 0, 0, 0, 123456, nanosecond=789)"
    assert str(T) == "2026-01-09 00:00:00.123456789+00:00"
    assert T.isoformat(timespec="seconds") == "2026-01-09T00:00:00+00:00"
    assert Timestamp.fromisoformat("2026-01-09T01:00:00.1234567+01:00").ns == 1_767_916_800_123_456_700


@pytest.mark.parametrize(
    ("text", "nanosecond"),
    [
        ("2026-01-09T00:00:00,123456789+00:00", 789),
        ("20260109T000000.123456789Z", 789),
        ("2026-W02-5-00:00:00.123456789+00:00", 789),
        ("2026-01-09T00:00:00.1234567891+00:00", 789),
        ("2026-01-09T00:00:00.123456+00:00:00.123456789", 0),
    ],
)
def test_a_fraction_is_read_where_it_stands(text, nanosecond):
    """Nanoseconds behind a comma or before a tenth digit were lost, and an offset's were taken for the time's."""
    assert Timestamp.fromisoformat(text).nanosecond == nanosecond


@pytest.mark.parametrize(("moment", "hours"), [(datetime.min, 14), (datetime.max, -14)])
def test_a_moment_beyond_utc_is_named(moment, hours):
    with pytest.raises(OverflowError, match=r"value: lies beyond the years 1 to 9999"):
        Timestamp.of(moment.replace(tzinfo=timezone(timedelta(hours=hours))))


def test_copies_are_the_same():
    assert copy.copy(T) is T
    assert copy.deepcopy(T) is T
    assert T.replace(nanosecond=1).nanosecond == 1
    assert T.replace(year=2027).nanosecond == 789
    assert T.replace(tzinfo=None) == datetime(2026, 1, 9, 0, 0, 0, 123456)
    assert type(T.replace(tzinfo=None)) is datetime


def test_leaving_utc_leaves_the_class():
    zone = timezone(timedelta(hours=2))
    there = T.astimezone(zone)
    assert type(there) is datetime
    assert there.utcoffset() == timedelta(hours=2)
    assert T.astimezone(UTC) is T
    assert T - there == timedelta(0)
    assert there - T == timedelta(0)


def test_arithmetic():
    assert (T + timedelta(seconds=1)).ns == T.ns + 10**9
    assert (timedelta(seconds=1) + T).ns == T.ns + 10**9
    assert (T - timedelta(seconds=1)).ns == T.ns - 10**9
    assert T - (T - timedelta(hours=1)) == timedelta(hours=1)
    with pytest.raises(TypeError):
        T + 1


def test_refusals():
    with pytest.raises(ValueError, match="UTC"):
        Timestamp(2026, 1, 1, tzinfo=None)
    with pytest.raises(ValueError, match="nanosecond"):
        Timestamp(2026, 1, 1, nanosecond=1000)
    with pytest.raises(ValueError, match="naive"):
        Timestamp.of(datetime(2026, 1, 1))
    with pytest.raises(TypeError, match="ns"):
        Timestamp.from_ns(True)
    with pytest.raises(OverflowError):
        Timestamp.from_ns(10**21)
    with pytest.raises(TypeError):
        T < datetime(2026, 1, 1)
    assert T != datetime(2026, 1, 9, 0, 0, 0, 123456)


def test_now():
    assert abs(Timestamp.now() - datetime.now(UTC)) < timedelta(seconds=5)
    assert abs(CorrelationMetadata("c").created_at - datetime.now(UTC)) < timedelta(seconds=5)


def test_what_datetime_makes_is_in_utc():
    """These were of ``datetime``: naive, or refused for a zone that nobody had given."""
    assert abs(Timestamp.today() - datetime.now(UTC)) < timedelta(seconds=5)
    assert Timestamp.fromtimestamp(1.5).ns == 1_500_000_000
    assert Timestamp.fromtimestamp(-1, UTC) == datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)
    noon = Timestamp(2026, 1, 9, 12)
    for zone, hour in [(None, 12), (UTC, 12), (timezone(timedelta(hours=2)), 14)]:
        assert Timestamp.combine(date(2026, 1, 9), time(hour, tzinfo=zone)) == noon
        assert Timestamp.combine(date(2026, 1, 9), time(hour), zone) == noon
    assert Timestamp.strptime("09/01/26 13 +0100", "%d/%m/%y %H %z") == noon
    assert (
        Timestamp.fromisocalendar(2026, 2, 5)
        == Timestamp.fromordinal(date(2026, 1, 9).toordinal())
        == T.replace(microsecond=0, nanosecond=0)
    )
    with pytest.raises(ValueError, match=r"naive"):
        Timestamp.strptime("2026", "%Y")
    with pytest.raises(ValueError, match=r"^tz: a Timestamp is in UTC"):
        Timestamp.fromtimestamp(1.5, timezone(timedelta(hours=2)))


@pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")
def test_what_datetime_makes_naive_is_in_utc_too():
    assert abs(Timestamp.utcnow() - datetime.now(UTC)) < timedelta(seconds=5)
    assert Timestamp.utcfromtimestamp(1.5) == Timestamp.fromtimestamp(1.5)


def test_the_first_and_the_last_are_timestamps():
    """They were naive datetimes, which cannot be compared with a timestamp."""
    assert Timestamp.min < Timestamp.now() < Timestamp.max
    assert type(Timestamp.min) is type(Timestamp.max) is Timestamp
    for ns in (Timestamp.min.ns - 1, Timestamp.max.ns + 1):
        with pytest.raises(OverflowError):
            Timestamp.from_ns(ns)
    assert [Timestamp.from_ns(end.ns) for end in (Timestamp.min, Timestamp.max)] == [Timestamp.min, Timestamp.max]


@pytest.mark.parametrize("hours", [-14, -5, 0, 5.5, 14])
def test_any_zone_is_taken(hours):
    zone = timezone(timedelta(hours=hours))
    given = datetime(2026, 3, 1, 12, 30, 15, 7, tzinfo=zone)
    assert ProcessEvent(1, "sh", start_time=given).start_time == given


def test_a_class_derived_from_it_is_one():
    class Seen(Timestamp):
        pass

    seen = Seen.from_ns(T.ns)
    assert ProcessEvent(1, "sh", start_time=seen).start_time_ns == T.ns
    assert CorrelationMetadata("c", created_at=seen).created_at == seen == Timestamp.of(seen)


def test_a_field_names_itself_in_refusals():
    with pytest.raises(ValueError, match=r"ProcessEvent\.start_time: a naive"):
        ProcessEvent(1, "sh", start_time=datetime(2026, 1, 1))
    with pytest.raises(ValueError, match=r"ProcessEvent\.start_time: times before 1970"):
        ProcessEvent(1, "sh", start_time=datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC))
    with pytest.raises(TypeError, match=r"ProcessEvent\.start_time: expected datetime, got int"):
        ProcessEvent(1, "sh", start_time=5)
    assert ProcessEvent(1, "sh", start_time=datetime(9999, 12, 31, tzinfo=UTC)).start_time.year == 9999


@pytest.mark.parametrize("moment", [datetime.max, datetime(9999, 12, 31, 23)], ids=["last", "first"])
def test_a_time_that_only_its_own_zone_has_is_refused(moment):
    """It was taken, and then no reader could read the field."""
    late = moment.replace(tzinfo=timezone(-timedelta(hours=1)))
    with pytest.raises(ValueError, match=r"ProcessEvent\.start_time: times beyond the year 9999 in UTC"):
        ProcessEvent(1, "sh", start_time=late)
    with pytest.raises(ValueError, match=r"CorrelationMetadata\.created_at: times beyond the year 9999 in UTC"):
        CorrelationMetadata("c", created_at=late)
    just = moment.replace(hour=22, tzinfo=timezone(-timedelta(hours=1)))
    assert ProcessEvent(1, "sh", start_time=just).start_time == just


def test_unequal_is_the_opposite_of_equal():
    a, b = Timestamp.from_ns(1_700_000_000_000_000_001), Timestamp.from_ns(1_700_000_000_000_000_002)
    plain, same = (Timestamp.from_ns(1_700_000_000_000_000_000) for _ in range(2))
    assert [x != y for x, y in [(a, b), (a, plain), (plain, same), (a, "no time")]] == [True, True, False, True]
    assert [x == y for x, y in [(a, b), (a, plain), (plain, same), (a, "no time")]] == [False, False, True, False]
