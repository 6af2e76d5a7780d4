"""The URLs the gateway hands out. Always absolute: clients behind a proxy cannot resolve relative ones."""

import msgspec


class JobUrls(msgspec.Struct, frozen=True):
    """Where a job is read, canceled, and its result and events fetched."""

    get: str
    cancel: str
    result: str
    events: str


class Links:
    def __init__(self, public_base_url: str) -> None:
        self._jobs = f"{public_base_url}/v1/jobs/"
        self._models = f"{public_base_url}/v1/models/"

    def job(self, job_id: str) -> str:
        return self._jobs + job_id

    def job_urls(self, job_id: str) -> JobUrls:
        url = self._jobs + job_id
        return JobUrls(url, f"{url}/cancel", f"{url}/result", f"{url}/events")

    def version(self, model: str, version: str) -> str:
        return f"{self._models}{model}/versions/{version}"
