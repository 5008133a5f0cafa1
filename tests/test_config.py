"""Settings that cannot be are refused where they are made, by name; nothing that passes there is refused later."""

import dataclasses

import pytest

from daemoneye_eventbus import Broker, BrokerConfig, ClientConfig, EventBus
from support import process

HUGE = 10**400
ODD = [
    HUGE, -HUGE, 10**5000, 2**63, 2**63 - 1, 2**64, 1e300, -1e300, 5e-324, float("nan"), float("inf"), -0.0, 0, -1,
    1.5, True, None, "x", "x" * 10**5, "\ud800", b"x", (), [], {}, [None], object(),
    [10**5000], [-1], ["x" * 10**5],
]  # fmt: skip


def made(config, name, value):
    try:
        return config(**{name: value})
    except (ValueError, TypeError) as error:
        said = str(error)
    assert said.startswith(f"{config.__name__}.")
    assert len(said) < 400
    return None


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(BrokerConfig)])
def test_odd_settings_of_a_broker(path, name):
    for value in ODD:
        config = made(BrokerConfig, name, value)
        if config is not None:
            Broker(path, config=config)


@pytest.mark.parametrize("name", ["rules", "rate_limit", "original_patterns", "allowed_uids", "allowed_sids"])
@pytest.mark.parametrize("text", ["", b""], ids=["str", "bytes"])
def test_text_is_not_an_empty_list(name, text):
    with pytest.raises(TypeError, match=rf"BrokerConfig\.{name}: expected"):
        BrokerConfig(**{name: text})


@pytest.mark.parametrize("name", ["", "a\n", "\x1b[2J", "\ud800"])
def test_the_name_of_a_token_is_one(name):
    with pytest.raises(ValueError, match=r"BrokerConfig\.token: a name") as caught:
        BrokerConfig(token={name: b"y" * 16})
    assert "yyy" not in str(caught.value)


async def test_odd_settings_of_a_client(path):
    async with Broker(path) as broker:
        for field in dataclasses.fields(ClientConfig):
            for value in ODD:
                config = made(ClientConfig, field.name, value)
                if config is None or field.name in {"token", "server_uids"}:
                    continue
                if field.name.endswith("timeout") and value == 0:
                    continue
                async with EventBus.connect(path, config=config) as bus:
                    await bus.publish(process(1))
                async with EventBus.from_broker(broker, config=config) as bus:
                    await bus.publish(process(1))


async def test_odd_bounds_and_timeouts(path):
    broker = Broker(path)
    await broker.start()
    async with EventBus.from_broker(broker) as bus:
        for name in ("queue_messages", "queue_bytes"):
            for value in ODD:
                try:
                    async with bus.subscribe("events.#", **{name: value}):
                        assert isinstance(value, int)
                        assert 1 <= value < 2**63
                    said = f"{name}: "
                except (ValueError, TypeError) as error:
                    said = str(error)
                assert said.startswith(f"{name}: ")
        for value in [*ODD, ["drop_oldest"]]:
            with pytest.raises((ValueError, TypeError), match=r"^overflow: .{,150}$"):
                async with bus.subscribe("events.#", overflow=value):
                    pass
        for value in (HUGE, float("inf"), 1e300, -HUGE):
            try:
                await bus.flush(timeout=value)
            except TimeoutError:
                assert value < 0
    assert await broker.shutdown(HUGE) == 0


def test_what_goes_together_is_said_at_once():
    with pytest.raises(ValueError, match=r"BrokerConfig.socket_group: has no effect"):
        BrokerConfig(socket_group=0)
    with pytest.raises(ValueError, match=r"BrokerConfig.original_patterns: .*nowhere"):
        BrokerConfig(original_patterns=["nowhere.#"])
