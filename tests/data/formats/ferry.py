#!/usr/bin/env python3
"""Times of the ferry."""

from __future__ import annotations

import json
from dataclasses import dataclass

LINES = {
    "north": [9, 12, 17],
    "south": [10, 15],
}
DEFAULT = "north"


@dataclass
class Trip:
    """One trip."""

    line: str
    hour: int = 9

    def label(self) -> str:
        return f"{self.line} {self.hour}"

    # Winter trips are rare.
    @property
    def is_winter(self) -> bool: return False

    @classmethod
    def read(cls, text: str) -> "Trip":
        data = json.loads(text)
        for key in ("line", "hour"):
            if key not in data:
                raise KeyError(key)
        return cls(**data)


async def main() -> None:
    print(Trip("north").label())


if __name__ == "__main__":
    import asyncio

    asyncio.run(main())
