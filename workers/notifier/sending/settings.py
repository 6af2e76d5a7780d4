"""What decides where events may go. Also read where nothing that sends is installed, with the settings of all roles."""

import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import Field, SecretStr, field_validator

from runtime.clock import Clock
from runtime.settings import WebhookAddressSettings

if TYPE_CHECKING:
    import httpcore2

    from workers.notifier.sending.http_sender import HttpSender


class SendingSettings(WebhookAddressSettings):
    webhook_proxy: SecretStr | None = Field(
        None,
        description="egress proxy of your own that events are sent through, as `http://user:password@proxy:3128`: it"
        " resolves names, and its rules alone say which addresses may be connected to; its failures are not counted"
        " against endpoints",
    )

    @field_validator("webhook_proxy")
    @classmethod
    def _is_a_proxy(cls, proxy: SecretStr | None) -> SecretStr | None:
        if proxy is not None:
            try:
                _parts(proxy)
            except ValueError:  # whose text may hold the password
                raise ValueError("must be http(s)://[user:password@]host[:port]") from None
        return proxy


def _parts(setting: SecretStr) -> SplitResult:
    """Raises `ValueError` for what is no URL of a proxy."""
    url = urlsplit(setting.get_secret_value())
    if (
        url.scheme not in {"http", "https"}
        or not url.hostname
        or url.path not in {"", "/"}
        or url.query
        or url.fragment
    ):
        raise ValueError("no URL of a proxy")
    _ = url.port  # raises `ValueError` for what is none
    return url


def proxy_of(setting: SecretStr) -> "httpcore2.Proxy":
    """Raises `ValueError` for what is none."""
    import httpcore2  # noqa: PLC0415

    url = _parts(setting)
    host = url.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    port = url.port or (443 if url.scheme == "https" else 80)
    auth = None if url.username is None else (unquote(url.username).encode(), unquote(url.password or "").encode())
    options: dict[str, Any] = {"ssl_context": httpcore2.default_ssl_context()} if url.scheme == "https" else {}
    return httpcore2.Proxy(httpcore2.URL(scheme=url.scheme, host=shown, port=port, target="/"), auth, **options)


def sender_of(settings: SendingSettings, clock: Clock, tls: ssl.SSLContext | None = None) -> "HttpSender":
    """To be opened with `async with`. `tls` has the authorities; the system's, or those of `SSL_CERT_FILE`, if None."""
    from workers.notifier.sending.http_sender import HttpSender  # noqa: PLC0415

    proxy = None if settings.webhook_proxy is None else proxy_of(settings.webhook_proxy)
    return HttpSender(clock, allow_private=settings.webhook_allow_private, proxy=proxy, tls=tls)
