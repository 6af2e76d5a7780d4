"""What clients see of the secret that signs jobs' own webhooks."""

import msgspec


class DefaultSecretDocument(msgspec.Struct, frozen=True):
    """What signs the webhooks that jobs name: `whsec_` and base64."""

    key: str
