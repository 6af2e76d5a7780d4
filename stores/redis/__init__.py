"""What may be lost: news between processes and counts of starts, in Redis or Valkey."""

from stores.redis.news import RedisNews
from stores.redis.signals import RedisSignals
from stores.redis.starts import RedisStarts

__all__ = ["RedisNews", "RedisSignals", "RedisStarts"]
