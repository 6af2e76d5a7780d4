"""Whether the role in this container is ready: exit status 0 or 1. Needs nothing but Python."""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping

TIMEOUT_S = 3.0


def port(environ: Mapping[str, str]) -> int:
    """The gateway answers on its own port, every other role on the health port."""
    return int(environ.get("PENSTOCK_GATEWAY_PORT") or environ.get("PENSTOCK_HEALTH_PORT") or 9464)


def ready(port_number: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port_number}/readyz", timeout=TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError) as error:
        print(error, file=sys.stderr)
        return False


if __name__ == "__main__":
    sys.exit(0 if ready(port(os.environ)) else 1)
