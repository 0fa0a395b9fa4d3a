#!/usr/bin/env python3
"""Types at a host's console over IPMI with pyghmi, as OpenStack's tools do, and says what it saw.

    ipmi_pyghmi_sol.py HOST PORT --user NAME --password-file FILE
"""

import argparse
import pathlib
import sys
import time

from pyghmi.ipmi import console

SECONDS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--user", required=True)
    parser.add_argument("--password-file", required=True, type=pathlib.Path)
    given = parser.parse_args()
    password = given.password_file.read_text().strip()
    seen = bytearray()

    def show(data) -> None:
        if isinstance(data, dict):
            sys.exit(f"the console ended: {data}; seen: {bytes(seen)!r}")
        seen.extend(data if isinstance(data, bytes) else data.encode())

    sol = console.Console(given.host, given.user, password, show, port=given.port)

    def types(text: bytes, wanted: bytes) -> None:
        before, end = len(seen), time.monotonic() + SECONDS
        if text:
            sol.send_data(text)
        while wanted not in seen[before:]:
            if time.monotonic() > end:
                sys.exit(f"no {wanted!r}: {bytes(seen)!r}")
            sol.wait_for_rsp(timeout=1)

    types(b"\r", b"login: ")
    types(b"ann\r", b"Password: ")
    types(b"secret\r", b"ann@twin:~$ ")
    types(b"echo three\r", b"\r\nthree\r\n")
    sol.send_break()
    types(b"whoami\r", b"\r\nann\r\n")
    sol.close()
    print(repr(bytes(seen)))


if __name__ == "__main__":
    main()
