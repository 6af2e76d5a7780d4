"""`make demo`, less the installing."""

import asyncio
import sys
from pathlib import Path

DEMO = Path(__file__).parents[3] / "examples" / "demo.py"


async def test_the_demo_shows_nine_digits_and_leaves_with_0() -> None:
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, str(DEMO)), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(90):
        output, _ = await demo.communicate()
    said = output.decode()

    assert demo.returncode == 0, said
    assert said.count("%") == 9
    assert "/docs" in said
    assert "9 of 9 right." in said
    assert "nothing is left" in said
