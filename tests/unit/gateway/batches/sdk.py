"""The openai client, unmodified, over a client of the house's."""

from typing import Any

import httpx
import openai


def sdk_over(client: httpx.AsyncClient) -> openai.AsyncOpenAI:
    given: Any = client  # it takes any that behaves as its own does
    return openai.AsyncOpenAI(api_key="none", base_url=f"{client.base_url}/v1", http_client=given, max_retries=0)
