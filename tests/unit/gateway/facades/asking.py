"""What tests of facades ask, and what becomes of it."""

from typing import Final

from tests.unit.gateway.house import House
from tests.waiting import eventually

URL: Final = "/v2/models/vector/infer"
INPUT: Final = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}


async def sent(house: House) -> str:
    """The id of the job in the lane, once there is one."""
    await eventually(house.records)
    return house.records()[-1].id
