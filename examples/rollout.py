"""A rollout of digits from version 1 to version 2, by itself: start everything, send digits, and watch.

    python examples/rollout.py

Takes about a minute, and leaves nothing behind. docs/rollouts.md tells what happens.
"""

import asyncio
import sys
from collections import Counter
from pathlib import Path

import httpx
import numpy as np

from penstock.documents import Document
from penstock.errors import StackError
from penstock.gateway_client import GatewayClient, clients_for
from penstock.rollouts.asking import ended
from penstock.stack import Stack

HERE = Path(__file__).parent
MODELS = HERE / "models"
HELD_OUT = HERE / "digits" / "held_out.npz"
AT_ONCE = 8
# So few steps, so short, and so high a limit that it is over soon; a real one takes its time.
PLAN = {
    "model": "digits",
    "version": "2",
    "steps": [10, 50, 100],
    "step_time_s": 5,
    "guardrails": [{"kind": "failed", "limit": 0.05}],
}


async def main() -> int:
    try:
        async with Stack(None, models=MODELS, announce=print, rollouts=True) as stack:
            return await roll_out(stack)
    except StackError as error:
        print(f"rollout: {error}", file=sys.stderr)
        return 1


async def roll_out(stack: Stack) -> int:
    (http,) = clients_for(stack.gateway_url, connections=AT_ONCE + 2)
    async with http:
        base, versions = stack.gateway_url, Counter[str]()
        route = {"versions": {"1": 10_000}, "default": "1"}
        (await http.put(f"{base}/v1/routes/digits", json=route, headers={"prefer": "wait=10"})).raise_for_status()
        clients = [asyncio.create_task(send(http, base, versions)) for _ in range(AT_ONCE)]
        answer = await http.post(f"{base}/v1/rollouts", json=PLAN)
        answer.raise_for_status()
        print(f"\n{answer.json()['id']}: digits from version 1 to 2, while {AT_ONCE} clients send digits\n")
        rollout: Document = await ended(GatewayClient([http], base), answer.json()["id"], print)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    jobs = ", ".join(f"{count} by version {version}" for version, count in sorted(versions.items()))
    print(f"\n{rollout['status'].replace('_', ' ')}; {jobs}")
    for finding in rollout["verdict"]["evidence"]:
        print(finding["told"])
    return 0 if rollout["status"] == "promoted" else 1


async def send(http: httpx.AsyncClient, base: str, versions: "Counter[str]") -> None:
    """One digit after the other, and count which version read it."""
    with np.load(HELD_OUT) as held_out:
        scans = held_out["images"].astype(int)
    for number in range(sys.maxsize):
        body = {"instances": [scans[number % len(scans)].tolist()]}
        answer = await http.post(f"{base}/v1/models/digits/jobs", json=body, headers={"prefer": "wait=30"})
        job = answer.json()
        if job.get("status") == "succeeded":
            versions[job["model_version"]] += 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
