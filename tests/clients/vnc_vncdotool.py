#!/usr/bin/env python3
"""Sees a screen, types and points there with vncdotool, as test benches do, and says what it saw as JSON.

    vnc_vncdotool.py SERVER FOLDER

SERVER is ADDRESS::PORT. What is looked at are places of kvmsrv's test picture: its first and its last bar, the row of keys that are down.
"""

import json
import pathlib
import sys

from PIL import Image
from vncdotool import api

KEYS = (4, 410)
SECONDS = 60


def main() -> None:
    server, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    client = api.connect(server, timeout=SECONDS)

    def pixel(place: tuple[int, int]) -> str:
        shot = folder / "shot.png"
        client.captureScreen(str(shot))
        with Image.open(shot) as image:
            return "{:02x}{:02x}{:02x}".format(*image.convert("RGB").getpixel(place))

    def until(place: tuple[int, int], is_black: bool) -> bool:
        # Each capture waits for an update, of which the moving picture has ten in a second.
        return any((pixel(place) == "000000") == is_black for _ in range(50))

    found = {"first bar": pixel((0, 0)), "last bar": pixel((639, 0))}
    client.keyDown("a")
    found["a is down"] = until(KEYS, False)
    client.keyUp("a")
    found["a is up"] = until(KEYS, True)
    client.mouseMove(300, 200)
    client.mousePress(1)
    found["pointer"] = any(pixel((300, 200)) == "ffffff" for _ in range(50))
    # It ends with a key down.
    client.keyDown("b")
    found["b is down"] = until(KEYS, False)
    client.disconnect()
    api.shutdown()
    print(json.dumps(found))


main()
