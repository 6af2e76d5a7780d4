"""News over Redis: who is done, who runs, who was canceled. All of it may be lost."""

from stores.redis.news import RedisNews
from stores.redis.signals import RedisSignals

__all__ = ["RedisNews", "RedisSignals"]
