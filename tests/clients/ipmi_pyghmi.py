#!/usr/bin/env python3
"""Asks a BMC over IPMI with pyghmi, as OpenStack does, and says what it found as JSON.

    ipmi_pyghmi.py HOST PORT --user NAME --password-file FILE [--sensors]
"""

import argparse
import json
import pathlib

from pyghmi.ipmi import command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--user", required=True)
    parser.add_argument("--password-file", required=True, type=pathlib.Path)
    parser.add_argument("--sensors", action="store_true", help="what the sensors show, and nothing else")
    given = parser.parse_args()
    password = given.password_file.read_text().strip()
    bmc = command.Command(given.host, given.user, password, port=given.port)
    if given.sensors:
        shown = {one.name: one.value for one in bmc.get_sensor_data() if one.value is not None}
        bmc.ipmi_session.logout()
        print(json.dumps(shown, default=str))
        return
    found = {}
    for state in ("on", "off"):
        bmc.set_power(state, wait=60)
        found[f"power after {state}"] = bmc.get_power()["powerstate"]
    found["inventory"] = {name: info for name, info in bmc.get_inventory() if info}
    bmc.set_bootdev("network", persist=True, uefiboot=True)
    found["bootdev"] = bmc.get_bootdev()
    found["events"] = [event.get("event") for event in bmc.get_event_log(clear=True)]
    found["events after clear"] = len(list(bmc.get_event_log()))
    found["users"] = {user["name"]: number for number, user in bmc.get_users(channel=1).items()}
    bmc.create_user(11, "ironic", "saxophone-quartet", channel=1, privilege_level="operator")
    bmc.create_user(12, "passing", "saxophone-quartet", channel=1, privilege_level="user")
    bmc.user_delete(12, channel=1)
    found["watts"] = bmc.xraw_command(0x2C, 2, data=(0xDC, 1, 0, 0))["data"][1]
    found["identifier"] = bmc.get_mci()
    bmc.set_mci("pyghmi-17")
    found["tag"] = bmc.get_asset_tag()
    bmc.set_identify(on=True, duration=5)
    bmc.ipmi_session.logout()
    print(json.dumps(found, default=str))


if __name__ == "__main__":
    main()
