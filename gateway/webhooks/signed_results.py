"""Results for whoever has a link to one, which an event holds in place of a result that is large."""

from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from gateway.token_bucket import SharedTokens
from schemas.errors import LinkExpired, LinkInvalid, RateLimited
from schemas.jobs import Job, is_job_id
from schemas.signing import LinkState, ResultLinks
from stores.protocols import JobKey, Jobs

# Of one process, shared evenly by the tenants who fetch. Thin events come as fast as jobs end, and each receiver
# fetches: submits must not wait for that. Who comes too early comes again, and has time: links are good for as long as
# the result is kept.
PER_S: Final = 100.0
BURST: Final = 200.0
# What another token is taken for: to read, convert and send so much takes about as long as all the rest.
TOKEN_BYTES: Final = 64 * 1024


class Link(NamedTuple):
    """What stands in a link, as text."""

    tenant: str
    job_id: str
    expires: str
    signature: str


class SignedResults:
    def __init__(
        self, links: ResultLinks, jobs: Jobs, now: Callable[[], datetime], clock_s: Callable[[], float]
    ) -> None:
        self._links = links
        self._jobs = jobs
        self._now = now
        self._tokens = SharedTokens(PER_S, BURST, clock_s)

    async def read(self, link: Link) -> Job:
        """The job whose result is linked to. Raises `LinkInvalid`, `LinkExpired`, `RateLimited`, `StoreUnavailable`.

        Whoever has no link that we signed takes nothing from those who have.
        """
        state = self._links.check(*link, self._now())
        if state is LinkState.WRONG or not is_job_id(link.job_id):
            raise LinkInvalid("this link is none of ours: use it as it came, with all of its query")
        if state is LinkState.EXPIRED:
            raise LinkExpired("this link has expired")
        wait_s = self._tokens.wait_s(link.tenant)
        if wait_s:
            raise RateLimited("results are fetched too fast: try again", retry_after_s=wait_s)
        job = await self._jobs.get(JobKey(link.tenant, link.job_id))
        if job is None:
            raise LinkExpired("the result is kept no longer")
        return job

    def count(self, link: Link, sent_bytes: int) -> None:
        self._tokens.take_more(link.tenant, sent_bytes // TOKEN_BYTES)
