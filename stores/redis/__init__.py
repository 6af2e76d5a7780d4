"""What may be lost: news between processes, counts of starts and reports of replicas, in Redis or Valkey."""

from stores.redis.news import RedisNews
from stores.redis.replicas import RedisReplicas
from stores.redis.signals import RedisSignals
from stores.redis.starts import RedisStarts

__all__ = ["RedisNews", "RedisReplicas", "RedisSignals", "RedisStarts"]
