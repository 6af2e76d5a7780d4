"""HTTP clients for a server on this machine."""

import ssl

import httpx

# Never used: without it each client would load the authorities of the whole internet, which takes longer than a test.
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def client_of(base_url: str, timeout_s: float = 70.0) -> httpx.AsyncClient:
    """By default more patient than the gateway's longest wait."""
    return httpx.AsyncClient(base_url=base_url, timeout=timeout_s, verify=NO_AUTHORITIES, trust_env=False)
