"""vncdotool at the port of `ubmcctl kvm vnc`: it saves the whole test picture by one request, and sees the key that it holds down.

Usage: vncdotool_client.py PORT
"""

import io
import sys

from PIL import Image
from vncdotool import api

SIZE = (640, 480)
FIRST, LAST = (0xC0, 0xC0, 0xC0), (0x10, 0x10, 0x10)
# Where the picture shows keys that are down.
KEYS = (4, 410)


def saved(client) -> Image.Image:
    """What its users get: a file of the whole screen."""
    file = io.BytesIO()
    client.captureScreen(file, format="png")
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def seen(client, is_down: bool) -> None:
    """Waits for changes until the key is shown as wanted."""
    while (client.screen.convert("RGB").getpixel(KEYS) != (0, 0, 0)) != is_down:
        client.refreshScreen(incremental=True)


def main() -> None:
    client = api.connect(f"127.0.0.1::{sys.argv[1]}", timeout=60)
    try:
        picture = saved(client)
        assert picture.size == SIZE, picture.size
        corners = picture.getpixel((0, 0)), picture.getpixel((SIZE[0] - 1, 0))
        assert corners == (FIRST, LAST), corners
        assert picture.getpixel(KEYS) == (0, 0, 0), "no key is down"
        client.mouseMove(300, 200)
        client.keyDown("a")
        seen(client, True)
        client.keyUp("a")
        seen(client, False)
    finally:
        client.disconnect()
        api.shutdown()


main()
