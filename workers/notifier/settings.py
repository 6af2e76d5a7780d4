"""What a notifier is told by its environment."""

from pydantic import Field, SecretStr, field_validator

from runtime.settings import (
    MemorySettings,
    PostgresSettings,
    ProcessSettings,
    PublicSettings,
    RetentionSettings,
    WebhookAddressSettings,
    WebhookKeySettings,
)
from workers.notifier.sending.proxies import ProxyAddress, parse_proxy


class NotifierSettings(
    PostgresSettings,
    PublicSettings,
    RetentionSettings,
    WebhookAddressSettings,
    WebhookKeySettings,
    MemorySettings,
    ProcessSettings,
):
    notifier_concurrency: int = Field(
        2000, ge=1, le=20_000, description="attempts at a time, or as many as the process may open files for"
    )
    webhook_proxy: SecretStr | None = Field(
        None,
        description="egress proxy of your own that events are sent through, as `http://user:password@proxy:3128`: it"
        " resolves names, and its rules alone say which addresses they may lead to; that it fails does not count"
        " against endpoints",
    )

    @field_validator("webhook_proxy")
    @classmethod
    def _is_a_proxy(cls, proxy: SecretStr | None) -> SecretStr | None:
        if proxy is not None:
            parse_proxy(proxy.get_secret_value())
        return proxy

    @property
    def proxy(self) -> ProxyAddress | None:
        return None if self.webhook_proxy is None else parse_proxy(self.webhook_proxy.get_secret_value())
