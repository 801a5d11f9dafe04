"""Cache backends that store only JSON.

Django's own serialisers unpickle values, so whoever can write to Redis could run code in every
process. The memory cache follows the same rules, so that a value that isn't JSON is found at once.
"""

from __future__ import annotations

import json
from typing import Any

from django.core.cache.backends.locmem import LocMemCache


class JsonSerializer:
    """Serialiser for Django's RedisCache. Integers stay bare, because Redis counts with them."""

    def dumps(self, value: Any) -> bytes | int:
        if type(value) is int:
            return value
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()

    def loads(self, data: bytes | str | int) -> Any:
        return json.loads(data) if not isinstance(data, int) else data


_json = JsonSerializer()


class Memory(LocMemCache):
    """A cache for one process, which returns what Redis would."""

    def set(self, key: Any, value: Any, *args: Any, **kwargs: Any) -> None:
        super().set(key, _json.loads(_json.dumps(value)), *args, **kwargs)

    def add(self, key: Any, value: Any, *args: Any, **kwargs: Any) -> bool:
        return super().add(key, _json.loads(_json.dumps(value)), *args, **kwargs)
