"""What a Redis says that will not have us: a mistake in the settings, which no waiting mends."""

from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from runtime.logs import get_logger

log = get_logger(__name__)


def refusal(error: BaseException) -> str | None:
    """What is wrong with PENSTOCK_REDIS_URL, None where the error may pass."""
    said = str(error)
    if isinstance(error, AuthenticationError):
        none_given = "required" in said or "must be called with the client already authenticated" in said
        return "Redis asks for a password" if none_given else "Redis refuses the password"
    if isinstance(error, NoPermissionError):
        return "Redis does not allow its user what Penstock needs"
    if isinstance(error, ResponseError) and "DB index" in said:
        return "Redis has no database of that number"
    return None


def tell_lost(error: BaseException) -> None:
    """Log why there is no connection. We go on all the same: what Redis is for may be lost."""
    refused = refusal(error)
    if refused is None:
        log.warning("no news from Redis until it is back", error=repr(error))
    else:
        log.error(refused, remedy="put PENSTOCK_REDIS_URL right", redis=" ".join(str(error).split()))
