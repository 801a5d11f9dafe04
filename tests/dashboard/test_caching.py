"""The cache holds JSON: nothing that Redis returns is executed."""

from __future__ import annotations

import pickle
from datetime import date
from typing import Any

import pytest
from celery import current_app
from django.conf import settings
from django.core.cache import cache
from django.core.cache.backends.base import BaseCache

from dashboard.caching import JsonSerializer, Memory


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("it was run",)


@pytest.mark.parametrize("value", [0, 7, True, None, 1.5, "é", [1, [2]], {"a": None}])
def test_what_goes_in_comes_out(value: object) -> None:
    serializer = JsonSerializer()
    assert serializer.loads(serializer.dumps(value)) == value
    cache.set("what", value)
    assert cache.get("what") == value


def test_counting_works_on_what_was_set() -> None:
    cache.set("count", 5)
    assert cache.incr("count") == 6
    assert cache.get("count") == 6


@pytest.mark.parametrize("value", [date(2026, 1, 1), {1, 2}, object(), float("nan")])
def test_what_is_no_json_is_refused_at_once(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        cache.set("what", value)
    with pytest.raises((TypeError, ValueError)):
        Memory("other", {}).add("what", value)


def test_a_pickle_in_the_cache_is_not_run() -> None:
    with pytest.raises(ValueError):  # whichever of JSON's
        JsonSerializer().loads(pickle.dumps(Harmful()))


@pytest.mark.services("redis")
def test_a_pickle_in_redis_is_not_run() -> None:
    backend: BaseCache = cache
    backend.set("what", 1)
    client = backend._cache.get_client(write=True)  # type: ignore[attr-defined]
    client.set(backend.make_and_validate_key("what"), pickle.dumps(Harmful()))
    with pytest.raises(ValueError):
        backend.get("what")


def test_no_message_and_no_session_is_pickled() -> None:
    assert current_app.conf.accept_content == ["json"]
    assert current_app.conf.result_accept_content in (None, ["json"])
    for name in ("task_serializer", "result_serializer", "event_serializer"):
        assert current_app.conf[name] == "json"
    assert settings.SESSION_SERIALIZER.endswith("JSONSerializer")
    backend: dict[str, Any] = dict(settings.CACHES["default"])
    assert "Json" in backend.get("OPTIONS", {}).get("serializer", "") or backend[
        "BACKEND"
    ].endswith("caching.Memory")
