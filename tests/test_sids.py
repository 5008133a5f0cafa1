"""Who may connect and who is trusted, in the words of Windows: checked everywhere, used there."""

import pytest

from daemoneye_eventbus import BrokerConfig, ClientConfig, Rule, _checks

USERS = "S-1-5-32-545"


@pytest.fixture
def windows(monkeypatch):
    monkeypatch.setattr(_checks, "WINDOWS", True)


@pytest.mark.parametrize("bad", ["", "BU", "Everyone", "S-1-5", "S-1-5-", "S-1-5-18;;;WD", "S-1-5-18\n"])
def test_what_is_no_sid_is_refused(windows, bad):
    for config, field in ((BrokerConfig, "allowed_sids"), (ClientConfig, "server_sids")):
        with pytest.raises(ValueError) as caught:
            config(**{field: (USERS, bad)})
        assert f"{config.__name__}.{field}: {bad!r} is not a SID" in str(caught.value)


def test_what_is_no_list_of_texts_is_refused(windows):
    for config, field in ((BrokerConfig, "allowed_sids"), (ClientConfig, "server_sids")):
        for bad in (18, None):
            with pytest.raises(TypeError, match=rf"{config.__name__}\.{field}: expected a SID as str, got "):
                config(**{field: (USERS, bad)})
    with pytest.raises(TypeError, match="allowed_sids"):
        BrokerConfig(allowed_sids=USERS)
    with pytest.raises(TypeError, match="server_sids"):
        ClientConfig(server_sids=USERS)


def test_windows_takes_sids_and_nothing_of_unix(windows):
    assert BrokerConfig(allowed_sids=[USERS]).allowed_sids == (USERS,)
    assert ClientConfig(server_sids=["S-1-5-18"]).server_sids == ("S-1-5-18",)
    for wrong in ({"allowed_uids": (0,)}, {"socket_mode": 0o660, "socket_group": 7}):
        with pytest.raises(ValueError, match="no effect on Windows; use allowed_sids"):
            BrokerConfig(**wrong)
    with pytest.raises(ValueError, match="ClientConfig.server_uids: has no effect on Windows; use server_sids"):
        ClientConfig(server_uids=(0,))


def test_rules_of_windows_go_by_whole_sids(windows):
    """The last number of a SID may be that of a user of this machine and of one of its domain."""
    assert Rule(sids=[USERS], publish=["events.#"]).sids == (USERS,)
    with pytest.raises(ValueError, match=r"Rule.uids: has no effect on Windows; use sids"):
        Rule(uids=[1001], publish=["events.#"])
    with pytest.raises(ValueError, match=r"Rule.sids: 'Users' is not a SID"):
        Rule(sids=["Users"], publish=["events.#"])
    with pytest.raises(ValueError, match=r"Rule.sids: an empty list names nobody"):
        Rule(sids=[], publish=["events.#"])
    with pytest.raises(TypeError, match=r"Rule.sids: expected a sequence of SIDs, got str"):
        Rule(sids=USERS, publish=["events.#"])


@pytest.mark.skipif(_checks.WINDOWS, reason="the other way round")
def test_unix_takes_no_sids():
    with pytest.raises(ValueError, match=r"Rule.sids: has no effect on Unix; use uids"):
        Rule(sids=[USERS], publish=["events.#"])
    with pytest.raises(ValueError, match=r"BrokerConfig.allowed_sids: has no effect on Unix; use allowed_uids"):
        BrokerConfig(allowed_sids=(USERS,))
    with pytest.raises(ValueError, match=r"ClientConfig.server_sids: has no effect on Unix; use server_uids"):
        ClientConfig(server_sids=(USERS,))
