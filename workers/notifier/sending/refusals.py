"""Why there was no answer."""

from stores.webhooks import Verdict


class NotSent(Exception):
    """There was no answer, for a reason that we found ourselves. The text may be shown to the endpoint's owner: it
    holds no address that a name was resolved to, and nothing of our network."""

    def __init__(self, verdict: Verdict, text: str) -> None:
        super().__init__(text)
        self.verdict = verdict
        self.text = text
