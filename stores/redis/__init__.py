"""What may be lost: news between processes, in Redis or Valkey."""

from stores.redis.news import RedisNews
from stores.redis.signals import RedisSignals

__all__ = ["RedisNews", "RedisSignals"]
