#!/usr/bin/env python3
"""Redfish clients and checkers that are not ours against one BMC: DMTF's Service Validator, Protocol Validator and
Use Case Checkers, Interop Validator, redfish_utilities, sushy, redfishtool.

    redfish_clients.py PART HOST:PORT --user admin --password-file FILE --schemas DIR --scratch DIR [--profiles DIR] [--host-on] [--image URL]

Ends with 0 when PART finds nothing, 1 with what it found otherwise.
"""

import argparse
import csv
import html
import json
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import time
import warnings

WAIT = 60

# What the Service Validator warns of because clients that are in use read nothing newer: Ironic and Ansible read Thermal, Power and the LED, look for
# virtual media at the manager, and Ironic's subscriptions have types of events. And the registries of DMTF have a severity in both its forms.
DEPRECATED = re.compile(r"Deprecated (Property|URI) Warning")
MEANT = re.compile(r"^(EventTypes|IndicatorLED|Thermal|Power) |/(Thermal|Power) |^Messages/\w+/Severity |/Managers/bmc/VirtualMedia\b")

# What OCP's profiles ask for and no version of DMTF's schema of that resource has: whoever showed it would fall through the Service Validator. Of a machine's
# serial console the server profile wants a property that only a manager's has. Each with the type that would have it; the test looks there.
PROFILES_CONTRADICT = {"SerialConsole/ConnectTypesSupported": ("ComputerSystem", "HostSerialConsole")}

# The Protocol Validator puts the one token of its login to two tests of NIST SP 800-22 at a level of 1 % each, so it warns of about one random token in
# fifty. After a warning as many tokens as here are judged by the same tests: more than a dozen of 128 random ones fall less often than once in 100,000.
RANDOM = "RESP_HEADERS_X_AUTH_TOKEN"
TOKENS, FALLEN = 128, 12

# What the Protocol Validator does not test here, and why not.
UNTESTED = {
}


def tool(args, name):
    """Runs a program of the environment this one runs in."""
    program = pathlib.Path(sys.executable).parent / name
    # A bundle that the environment names goes before what the tool is told.
    env = {name: value for name, value in os.environ.items() if name not in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")}
    command = [sys.executable, str(program), *args]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env, check=False)
    return done.returncode, done.stdout + done.stderr


def switch_on(args, password):
    """Switches the host on, and waits until it has handed over what it knows of its parts."""
    import redfish

    admin = redfish.redfish_client(base_url=f"https://{args.host}", username=args.user, password=password)
    admin.login(auth="session")
    system = "/redfish/v1/Systems/system"
    admin.post(f"{system}/Actions/ComputerSystem.Reset", body={"ResetType": "On"})
    end = time.monotonic() + WAIT
    while "ProcessorSummary" not in admin.get(system).dict and time.monotonic() < end:
        time.sleep(0.2)
    state = admin.get(system).dict
    admin.logout()
    if state["PowerState"] != "On" or "ProcessorSummary" not in state:
        raise SystemExit(f"the host does not come up: {state}")


def service(args, password):
    """Every resource against DMTF's schemas."""
    if args.host_on:
        switch_on(args, password)
    logs = pathlib.Path(args.scratch) / "service-validator"
    given = ["-r", f"https://{args.host}", "-u", args.user, "-p", password, "--skipschema", "--nooemcheck"]
    code, said = tool([*given, "--schema_directory", args.schemas, "--logdir", str(logs)], "rf_service_validator")
    reports = list(logs.glob("**/*.html"))
    if not reports:
        return [f"no report ({code}): {said[-4000:]}"]
    problems = []
    for row in re.findall(r"<tr[^>]*>(.*?)</tr>", reports[0].read_text(), re.DOTALL):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
        text = " | ".join(" ".join(html.unescape(re.sub("<[^>]+>", " ", cell)).split()) for cell in cells)
        is_meant = DEPRECATED.search(text) and MEANT.search(text)
        # Rows with a table in them are told by the rows of that.
        if re.search(r"(Error|Warning):", text) and len(text) < 2000 and not is_meant:
            problems.append(text)
    total = re.search(r"\|\s+(\d+)\s+\|\s+(\d+)\s+\|\s+(\d+)\s+\|", said)
    if total is None or int(total.group(1)) < 1000 or int(total.group(3)) and not problems:
        problems.append(f"not all of it was looked at: {said[-2000:]}")
    print(f"passed, warned, failed: {total.groups() if total else None}")
    return problems


def protocol(args, password):
    """Methods, status codes, headers, sessions, queries."""
    reports = pathlib.Path(args.scratch) / "protocol-validator"
    # Its requests without a login do not heed `--no-cert-check`.
    host, port = args.host.rsplit(":", 1)
    certificate = pathlib.Path(args.scratch) / "certificate.pem"
    certificate.write_text(ssl.get_server_certificate((host, int(port))))
    given = ["-r", f"https://{args.host}", "-u", args.user, "-p", password, "--ca-bundle", str(certificate)]
    given += ["--avoid-http-redirect", "--report-dir", str(reports), "--report-type", "tsv"]
    code, said = tool(given, "rf_protocol_validator")
    found = list(reports.glob("*.tsv"))
    if not found:
        return [f"no report ({code}): {said[-4000:]}"]
    with found[0].open(newline="") as file:
        rows = list(csv.reader(file, delimiter="\t"))
    results = [cell.strip() for row in rows for cell in row if cell.strip() in ("PASS", "WARN", "FAIL", "NOT-TESTED")]
    print({result: results.count(result) for result in sorted(set(results))})
    failed = [row for row in rows if any(cell.strip() in ("FAIL", "WARN") for cell in row)]
    problems = ["\t".join(row) for row in failed if row[0] != RANDOM]
    if any(row[0] == RANDOM for row in failed):
        problems += tokens(args, password)
    untested = {row[0] for row in rows if any(cell.strip() == "NOT-TESTED" for cell in row)}
    print("not tested:", ", ".join(sorted(untested)))
    problems += [f"the validator did not test {name}" for name in sorted(untested - set(UNTESTED))]
    if results.count("PASS") < 300:
        problems.append(f"not all of it was looked at: {said[-2000:]}")
    return problems


def tokens(args, password):
    """Session tokens by the Protocol Validator's own tests of randomness, many and not one."""
    import redfish
    from redfish_protocol_validator import utils

    fallen = set()
    seen = set()
    for _ in range(TOKENS):
        client = redfish.redfish_client(base_url=f"https://{args.host}", username=args.user, password=password)
        client.login(auth="session")
        token = client.get_session_key()
        client.logout()
        seen.add(token)
        if not utils.random_sequence(token):
            fallen.add(token)
    print(f"tokens that look not random: {len(fallen)} of {len(seen)}")
    if len(seen) < TOKENS or len(fallen) > FALLEN:
        return [f"tokens are not random: {len(fallen)} of {len(seen)} distinct ones of {TOKENS} fall through the tests"]
    return []


def use_cases(args, password):
    """What operators do: accounts, power, boot override, queries, by DMTF's Use Case Checkers."""
    reports = pathlib.Path(args.scratch) / "use-cases"
    given = ["-r", f"https://{args.host}", "-u", args.user, "-p", password, "--report-dir", str(reports)]
    code, said = tool(given, "rf_use_case_checkers")
    total = re.search(r"\|\s+(\d+)\s+\|\s+(\d+)\s+\|\s+(\d+)\s+\|", said)
    print(f"passed, warned, failed: {total.groups() if total else None}")
    if total is None or int(total.group(1)) < 50 or int(total.group(2)) or int(total.group(3)):
        return [f"{code}: {said[-3000:]}"]
    return []


def by_library(args):
    """DMTF's library: problems, how one is found in an answer, and a client for a name and a password."""
    import redfish

    problems = []

    def expect(what, response, status):
        if response.status != status:
            problems.append(f"{what}: {response.status} and not {status}: {response.text[:300]}")
        return response

    def client(name, secret):
        return redfish.redfish_client(base_url=f"https://{args.host}", username=name, password=secret)

    return problems, expect, client


def new_account(args, password):
    """An account that must change its password first does so with its session, and nothing else until then, by DMTF's library."""
    problems, expect, client = by_library(args)
    admin = client(args.user, password)
    admin.login(auth="session")
    # One that is logged in sends its own token, whatever it is given.
    other = client("newcomer", "")
    accounts = "/redfish/v1/AccountService/Accounts"
    new = {"UserName": "newcomer", "Password": "first-secret-7", "RoleId": "Operator", "PasswordChangeRequired": True}
    made = expect("a new account", admin.post(accounts, body=new), 201)
    own = made.getheader("Location")
    login = other.post("/redfish/v1/SessionService/Sessions", body={"UserName": "newcomer", "Password": "first-secret-7"})
    expect("its login", login, 201)
    if "PasswordChangeRequired" not in login.text:
        problems.append(f"the login does not say that the password must be changed: {login.text[:300]}")
    token = {"X-Auth-Token": login.getheader("X-Auth-Token")}
    expect("a look at a system", other.get("/redfish/v1/Systems", headers=token), 403)
    expect("a look at itself", other.get(own, headers=token), 200)
    expect("a new role", other.patch(own, body={"RoleId": "Administrator"}, headers=token), 403)
    expect("a new password", other.patch(own, body={"Password": "second-secret-8"}, headers=token), 200)
    expect("a look at a system afterwards", other.get("/redfish/v1/Systems", headers=token), 200)
    expect("the end of the session", other.delete(login.getheader("Location"), headers=token), 204)
    expect("the end of the account", admin.delete(own), 204)
    admin.logout()
    return problems


def media(root, image):
    """What Ironic does with virtual media: whatever is in the drive goes, a CD is inserted, booted from once, and ejected; at the system and, for older ones,
    at its manager."""
    import sushy

    problems = []
    system = root.get_system("/redfish/v1/Systems/system")
    for owner in (system, *system.managers):
        drives = [drive for drive in owner.virtual_media.get_members() if sushy.VirtualMediaType.CD in drive.media_types]
        if len(drives) != 1:
            problems.append(f"{owner.path} has {len(drives)} drives of CDs")
            continue
        drive = drives[0]
        for nth, url in enumerate((image, image + ".2")):
            if drive.inserted:
                drive.eject_media()
            drive.refresh(force=True)
            drive.set_verify_certificate(False)
            drive.refresh(force=True)
            if drive.verify_certificate is not False:
                problems.append(f"{drive.path}: certificates are verified ({drive.verify_certificate}), which was switched off")
            drive.insert_media(url, inserted=True, write_protected=True)
            drive.refresh(force=True)
            if not drive.inserted or drive.image != url or not drive.write_protected:
                problems.append(f"{drive.path}: {drive.inserted} {drive.image} {drive.write_protected}, {url} was inserted")
            system.set_system_boot_options(target=sushy.BootSource.CD, enabled=sushy.BootSourceOverrideEnabled.ONCE)
        drive.eject_media()
        drive.refresh(force=True)
        if drive.inserted or drive.image:
            problems.append(f"{drive.path}: {drive.image} was ejected and is there")
        try:
            drive.insert_media("https://127.0.0.1:9/none.iso", inserted=True, write_protected=True)
            problems.append(f"{drive.path}: an image that is nowhere was inserted")
        except sushy.exceptions.SushyError:
            pass
        drive.refresh(force=True)
        if drive.inserted:
            problems.append(f"{drive.path}: what failed is inserted")
    system.set_system_boot_options(target=sushy.BootSource.NONE, enabled=sushy.BootSourceOverrideEnabled.DISABLED)
    return problems


def a_choice(attributes, now):
    """The first enumeration that can be set, of the entries of a registry of attributes, and a value of it that it has not now."""
    for one in attributes:
        if one["Type"] == "Enumeration" and not one["ReadOnly"]:
            for value in one["Value"]:
                if value["ValueName"] != now[one["AttributeName"]]:
                    return one, value["ValueName"]
    raise SystemExit(f"the firmware has no enumeration that can be set: {attributes}")


def firmware(args, password, root, wait):
    """What Ironic does with the settings of a host's firmware and with secure boot, by sushy, and the boot order by DMTF's library: wished while the host
    is off, taken by its next boot, and set back by another one. The host is off before and after."""
    import sushy
    from sushy.resources import settings

    problems, expect, client = by_library(args)
    system = root.get_system("/redfish/v1/Systems/system")
    bios, secure = system.bios, system.secure_boot
    registry = bios.get_attribute_registry()
    if registry is None:
        return [f"sushy finds no registry {bios.json.get('AttributeRegistry')} of attributes"]
    attributes = registry.json["RegistryEntries"]["Attributes"]
    if {one["AttributeName"] for one in attributes} != set(bios.attributes):
        problems.append(f"the registry is not that of the BIOS: {attributes} and {bios.attributes}")
    one, wanted = a_choice(attributes, bios.attributes)
    name, before, default = one["AttributeName"], bios.attributes[one["AttributeName"]], one["DefaultValue"]
    was_enforced = secure.enabled

    def refreshed():
        bios.refresh(force=True)
        secure.refresh(force=True)

    def check(what, holds, *shown):
        if not holds:
            problems.append(f"{what}: {shown}")

    def boot(what, holds):
        """The host boots, which takes what is wished: it is waited for what that makes of it."""
        system.reset_system(sushy.ResetType.ON)
        wait(sushy.PowerState.ON)
        end = time.monotonic() + WAIT
        refreshed()
        while not holds() and time.monotonic() < end:
            time.sleep(0.2)
            refreshed()
        check(what, holds(), bios.json, secure.json)
        check(f"{what}, as Ironic asks", bios.update_status.status == settings.UPDATE_SUCCESS, bios.json["@Redfish.Settings"])
        system.reset_system(sushy.ResetType.FORCE_OFF)
        wait(sushy.PowerState.OFF)

    check("times at which attributes are set", bios.supported_apply_times == [sushy.ApplyTime.ON_RESET], bios.supported_apply_times)
    for value, time_of_it in [("no such value", None), (wanted, sushy.ApplyTime.IMMEDIATE)]:
        try:
            bios.set_attributes({name: value}, apply_time=time_of_it)
            problems.append(f"{name} can be {value} at {time_of_it}")
        except sushy.exceptions.BadRequestError as refused:
            check("what is refused by name", name in str(refused) or "ApplyTime" in str(refused), refused)
    refreshed()
    check("after what is refused", bios.pending_attributes == bios.attributes, bios.pending_attributes, bios.attributes)

    bios.set_attributes({name: wanted}, apply_time=sushy.ApplyTime.ON_RESET)
    secure.set_enabled(not was_enforced)
    admin = client(args.user, password)
    admin.login(auth="session")
    order = admin.get(system.path).dict["Boot"]["BootOrder"]
    wrong = expect("no boot option", admin.patch(system.path, body={"Boot": {"BootOrder": [*order, "Boot9999"]}}), 400)
    check("the wrong reference", f"/Boot/BootOrder/{len(order)}" in wrong.text, wrong.text)
    expect("another order", admin.patch(system.path, body={"Boot": {"BootOrder": order[::-1]}}), 200)
    refreshed()
    check("what is wished", bios.pending_attributes[name] == wanted, name, wanted, bios.pending_attributes)
    check("what is so until the next boot", bios.attributes[name] == before, name, before, bios.attributes)
    check("what is wished of secure boot", secure.enabled is not was_enforced, secure.json)
    boot("after a boot", lambda: bios.attributes[name] == wanted and bios.pending_attributes[name] == wanted)
    check("secure boot after a boot", secure.enabled is not was_enforced, secure.json)
    check("the order after a boot", admin.get(system.path).dict["Boot"]["BootOrder"] == order[::-1], order)

    bios.reset_bios()
    secure.set_enabled(was_enforced)
    secure.reset_keys(sushy.SecureBootResetKeysType.RESET_ALL_KEYS_TO_DEFAULT)
    expect("the order of before", admin.patch(system.path, body={"Boot": {"BootOrder": order}}), 200)
    refreshed()
    check("the default is wished", bios.pending_attributes[name] == default, name, default, bios.pending_attributes)
    boot("after a reset to defaults", lambda: bios.attributes[name] == default and not bios.json["ResetBiosToDefaultsPending"])
    check("secure boot with its keys", (secure.enabled, secure.mode) == (was_enforced, sushy.SecureBootMode.USER), secure.json)
    # What is wished is taken back.
    bios.set_attribute(name, a_choice(attributes, bios.attributes)[1])
    bios.set_attribute(name, bios.attributes[name])
    refreshed()
    check("after the end of a wish", bios.pending_attributes == bios.attributes, bios.pending_attributes, bios.attributes)
    admin.logout()
    return problems


def roles(args, password):
    """A role of one's own, by DMTF's library: made, given, narrowed while its account is logged in, and not deleted while there is one."""
    problems, expect, client = by_library(args)
    admin = client(args.user, password)
    admin.login(auth="session")
    service = "/redfish/v1/AccountService"
    new = {"RoleId": "NightShift", "AssignedPrivileges": ["Login", "ConfigureSelf", "ConfigureComponents"]}
    role = expect("a new role", admin.post(f"{service}/Roles", body=new), 201).getheader("Location")
    expect("the same once more", admin.post(f"{service}/Roles", body=new), 409)
    account = {"UserName": "watchman", "Password": "first-secret-7", "RoleId": "NightShift"}
    own = expect("an account with it", admin.post(f"{service}/Accounts", body=account), 201).getheader("Location")
    expect("its deletion while it is in use", admin.delete(role), 409)
    watchman = client("watchman", "first-secret-7")
    watchman.login(auth="session")
    tag = {"AssetTag": "night-1"}
    expect("what it allows", watchman.patch("/redfish/v1/Systems/system", body=tag), 200)
    expect("what it does not", watchman.post(f"{service}/Roles", body=new), 403)
    expect("less of it", admin.patch(role, body={"AssignedPrivileges": ["Login", "ConfigureSelf"]}), 200)
    # With the account's old session nothing goes on, and with a new one only what is left.
    expect("the session from before", watchman.get("/redfish/v1/Systems/system"), 401)
    watchman = client("watchman", "first-secret-7")
    watchman.login(auth="session")
    expect("what is left", watchman.get("/redfish/v1/Systems/system"), 200)
    expect("what is not", watchman.patch("/redfish/v1/Systems/system", body=tag), 403)
    watchman.logout()
    expect("a predefined role", admin.patch(f"{service}/Roles/Operator", body={"AssignedPrivileges": ["Login"]}), 400)
    expect("its deletion", admin.delete(f"{service}/Roles/Operator"), 409)
    expect("the end of the account", admin.delete(own), 204)
    expect("the end of the role", admin.delete(role), 204)
    admin.logout()
    return problems


def controls(args, password):
    """The fans of a zone, by DMTF's library: taken over, refused what is too little, and given back."""
    problems, expect, client = by_library(args)
    admin = client(args.user, password)
    admin.login(auth="session")
    members = expect("the controls", admin.get("/redfish/v1/Chassis/chassis/Controls"), 200).dict["Members"]
    uri = next(one["@odata.id"] for one in members if one["@odata.id"].endswith("/cpu"))
    before = expect("a control", admin.get(uri), 200).dict
    least = before["AllowableMin"]
    expect("too little", admin.patch(uri, body={"ControlMode": "Override", "SetPoint": least / 2}), 400)
    expect("a mode that is none", admin.patch(uri, body={"ControlMode": "Manual", "SetPoint": 70}), 400)
    after = expect("the same control", admin.get(uri), 200).dict
    if (before["ControlMode"], after["ControlMode"]) != ("Automatic", "Automatic"):
        problems.append(f"what was refused left {uri} in {after['ControlMode']}")
    taken = expect("a set point", admin.patch(uri, body={"ControlMode": "Override", "SetPoint": 70}), 200).dict
    if (taken["ControlMode"], taken["SetPoint"]) != ("Override", 70):
        problems.append(f"{uri} is {taken['ControlMode']} at {taken['SetPoint']}")
    expect("its target", admin.patch(uri + ".target", body={"SetPoint": 50}), 400)
    expect("giving it back", admin.post(uri + "/Actions/Control.ResetToDefaults", body={}), 204)
    expect("once more", admin.post(uri + "/Actions/Control.ResetToDefaults", body={}), 204)
    after = expect("the control at last", admin.get(uri), 200).dict
    if after["ControlMode"] != "Automatic":
        problems.append(f"{uri} was given back and is {after['ControlMode']}")
    admin.logout()
    return problems


def root_of(args, password):
    """DMTF's library, logged in."""
    import redfish

    client = redfish.redfish_client(base_url=f"https://{args.host}", username=args.user, password=password)
    client.login(auth="session")
    return client


def utilities(args, password, wait, system):
    """The trace of a claim by DMTF's scripts (redfish_utilities), and what else they look at."""
    problems = []
    given = ["-u", args.user, "-p", password, "-r", f"https://{args.host}"]

    def script(name, *more):
        code, said = tool([*given, *more], f"rf_{name}.py")
        if code != 0:
            problems.append(f"rf_{name} {' '.join(more)}: {code}: {said[-600:]}")
        return said

    script("power_reset", "--system", "system", "--type", "ForceOff")
    wait("Off")
    for target in ("Pxe", "Cd", "UefiHttp"):
        script("boot_override", "--system", "system", "--target", target)
        said = script("boot_override", "--system", "system", "--info")
        if target not in said or "Once" not in said:
            problems.append(f"rf_boot_override says after {target}: {said}")
        script("power_reset", "--system", "system", "--type", "On")
        wait("On")
        end = time.monotonic() + WAIT
        while system.json["Boot"]["BootSourceOverrideEnabled"] != "Disabled" and time.monotonic() < end:
            time.sleep(0.2)
            system.refresh(force=True)
        if system.json["Boot"]["BootSourceOverrideEnabled"] != "Disabled":
            problems.append(f"rf_boot_override: {target} is not over after a boot")
        script("power_reset", "--system", "system", "--type", "ForceOff")
        wait("Off")
    api = root_of(args, password)

    def shown(path):
        return api.get(f"/redfish/v1/{path}").dict

    def check(what, holds):
        if not holds:
            problems.append(f"{what}: the service does not say so")

    def members(path):
        return [member["@odata.id"].rsplit("/", 1)[-1] for member in shown(path)["Members"]]

    # What changes something, each looked at in the API.
    script("accounts", "--add", "scripted", "first-secret-7", "Operator")
    check("rf_accounts --add", shown("AccountService/Accounts/scripted").get("RoleId") == "Operator")
    script("accounts", "--setrole", "scripted", "ReadOnly")
    check("rf_accounts --setrole", shown("AccountService/Accounts/scripted").get("RoleId") == "ReadOnly")
    script("accounts", "--disable", "scripted")
    check("rf_accounts --disable", shown("AccountService/Accounts/scripted").get("Enabled") is False)
    script("accounts", "--enable", "scripted")
    check("rf_accounts --enable", shown("AccountService/Accounts/scripted").get("Enabled") is True)
    script("accounts", "--delete", "scripted")
    check("rf_accounts --delete", "scripted" not in members("AccountService/Accounts"))
    script("virtual_media", "--system", "system", "insert", "--image", args.image, "--id", "cd")
    check("rf_virtual_media insert", shown("Systems/system/VirtualMedia/cd")["Image"] == args.image)
    script("virtual_media", "--system", "system", "eject", "--id", "cd")
    check("rf_virtual_media eject", shown("Systems/system/VirtualMedia/cd")["Inserted"] is False)
    subscriptions = "EventService/Subscriptions"
    script("event_service", "subscribe", "--destination", "https://192.0.2.99/events", "--context", "scripts")
    ours = [one for one in members(subscriptions) if shown(f"{subscriptions}/{one}").get("Context") == "scripts"]
    check("rf_event_service subscribe", len(ours) == 1)
    for one in ours:
        script("event_service", "unsubscribe", "--id", one)
    check("rf_event_service unsubscribe", not set(ours) & set(members(subscriptions)))
    script("manager_config", "setprotocol", "--protocol", "IPMI", "--enable", "--port", "6230")
    check("rf_manager_config setprotocol", shown("Managers/bmc/NetworkProtocol").get("IPMI", {}).get("Port") == 6230)
    script("manager_config", "setprotocol", "--protocol", "IPMI", "--disable")
    registry = shown("Systems/system/Bios")["AttributeRegistry"]
    attributes = shown(f"Registries/{registry}/{registry}")["RegistryEntries"]["Attributes"]
    one, wanted = a_choice(attributes, shown("Systems/system/Bios")["Attributes"])
    script("bios_settings", "--system", "system", "--attribute", one["AttributeName"], wanted)
    pending = shown("Systems/system/Bios/Settings")["Attributes"]
    check("rf_bios_settings --attribute", pending[one["AttributeName"]] == wanted)
    api.delete("/redfish/v1/Systems/system/Bios/Settings")
    folder = pathlib.Path(args.scratch) / "diagnostics"
    folder.mkdir()
    script("diagnostic_data", "--manager", "bmc", "--log", "Diagnostics", "--directory", str(folder))
    archives = list(folder.iterdir())
    if len(archives) == 1 and tarfile.is_tarfile(archives[0]):
        with tarfile.open(archives[0]) as archive:
            check("rf_diagnostic_data", any("ListSensors" in name for name in archive.getnames()))
    else:
        problems.append(f"rf_diagnostic_data: {archives}")
    # What is only read: each says what the API says.
    sensors = [shown(f"Chassis/chassis/Sensors/{one}")["Name"] for one in members("Chassis/chassis/Sensors")]
    for name, wanted, *more in [
        ("sensor_list", sensors),
        ("sys_inventory", [drive.name for storage in system.storage.get_members() for drive in storage.drives]),
        ("firmware_inventory", [shown("UpdateService/FirmwareInventory/" + one)["Name"] for one in members("UpdateService/FirmwareInventory")]),
        ("logs", ["scripted"], "--manager", "--log", "AuditLog"),
        ("sel", ["host"]),
        ("manager_config", [shown("Managers/bmc")["FirmwareVersion"]], "info"),
        ("manager_config", ["HTTPS"], "getprotocol"),
        ("virtual_media", ["cd"], "--system", "system", "info"),
        ("accounts", [args.user]),
        ("bios_settings", [one["AttributeName"]], "--system", "system"),
        ("certificates", [], "info"),
        ("event_service", [], "info"),
        ("raw_request", ["#ServiceRoot"], "--request", "/redfish/v1/"),
    ]:
        said = " ".join(script(name, *more).split())
        for text in wanted:
            # Tables of theirs cut long names.
            check(f"rf_{name} {' '.join(more)} shows {text!r}", " ".join(text.split())[:12] in said)
    # And all of it stands in the audit log: who, from where, what, how it ended.
    page = shown("Managers/bmc/LogServices/AuditLog/Entries")
    entries = page["Members"]
    # So many at once.
    while rest := page.get("Members@odata.nextLink"):
        page = shown(rest.removeprefix("/redfish/v1/"))
        entries += page["Members"]
    told = [entry["Message"] for entry in entries if entry.get("Originator") == args.user]
    # Of more requests in a short time than are recorded the rest is in the log of websrv alone.
    recorded = [one for one in told if " /redfish/v1/" in one and one.endswith((": 200", ": 201", ": 204"))]
    check("the audit log has what was changed", recorded)
    api.logout()
    return problems


def claim(args, password):
    """What a provisioning tool does to a host it takes over, by sushy and by redfishtool."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        os.environ.pop(name, None)
    import sushy

    problems = []
    root = sushy.Sushy(f"https://{args.host}/redfish/v1/", username=args.user, password=password, verify=False)
    system = root.get_system("/redfish/v1/Systems/system")

    def wait(wanted):
        # Its own enumeration, which is no text.
        wanted = sushy.PowerState(wanted)
        end = time.monotonic() + WAIT
        while time.monotonic() < end:
            system.refresh(force=True)
            if system.power_state == wanted:
                return
            time.sleep(0.2)
        problems.append(f"the host is {system.power_state} and not {wanted}")

    def used(what):
        end = time.monotonic() + WAIT
        while system.boot.enabled != sushy.BootSourceOverrideEnabled.DISABLED and time.monotonic() < end:
            time.sleep(0.2)
            system.refresh(force=True)
        if system.boot.enabled != sushy.BootSourceOverrideEnabled.DISABLED:
            problems.append(f"the boot override {what} is still {system.boot.enabled} after a boot")

    for action, wanted in [
        (sushy.ResetType.FORCE_OFF, sushy.PowerState.OFF),
        (sushy.ResetType.ON, sushy.PowerState.ON),
        (sushy.ResetType.FORCE_RESTART, sushy.PowerState.ON),
        (sushy.ResetType.FORCE_OFF, sushy.PowerState.OFF),
    ]:
        system.reset_system(action)
        wait(wanted)
    # The trace of a claim: told what to boot from while it is off, switched on, booted from that once.
    for target, uri in [
        (sushy.BootSource.PXE, None),
        (sushy.BootSource.CD, None),
        (sushy.BootSource.UEFI_HTTP, "http://boot.example/claim.efi"),
    ]:
        system.set_system_boot_options(target=target, enabled=sushy.BootSourceOverrideEnabled.ONCE, http_boot_uri=uri)
        system.refresh(force=True)
        boot = system.boot
        if (boot.target, boot.enabled) != (target, sushy.BootSourceOverrideEnabled.ONCE):
            problems.append(f"the boot override is {boot.target} {boot.enabled} and not {target} once")
        if uri and system.json["Boot"].get("HttpBootUri") != uri:
            problems.append(f"the URI to boot from is {system.json['Boot'].get('HttpBootUri')}")
        system.reset_system(sushy.ResetType.ON)
        wait(sushy.PowerState.ON)
        used(target)
        system.reset_system(sushy.ResetType.FORCE_OFF)
        wait(sushy.PowerState.OFF)
    for led in (sushy.IndicatorLED.LIT, sushy.IndicatorLED.OFF):
        system.set_indicator_led(led)
        system.refresh(force=True)
        if system.indicator_led != led:
            problems.append(f"the LED is {system.indicator_led} and not {led}")
    chassis = root.get_chassis("/redfish/v1/Chassis/chassis")
    manager = root.get_manager("/redfish/v1/Managers/bmc")
    for name, value in [
        ("manufacturer", system.manufacturer),
        ("system of the chassis", chassis.systems),
        ("temperatures", chassis.thermal.temperatures),
        ("fans", chassis.thermal.fans),
        ("firmware", manager.firmware_version),
        ("manager of the system", system.managers),
        ("hardware address", system.ethernet_interfaces.summary),
        ("processors", system.processors.get_members()),
        ("architecture of the processors", system.processors.summary.architecture),
        ("drives", [drive for storage in system.storage.get_members() for drive in storage.drives]),
        ("registries", root.lazy_registries["Base"] if hasattr(root, "lazy_registries") else True),
    ]:
        if not value:
            problems.append(f"sushy sees no {name}")

    problems += media(root, args.image)
    problems += firmware(args, password, root, wait)
    problems += new_account(args, password)
    problems += roles(args, password)
    problems += controls(args, password)
    # Each of its boots takes seconds, and sushy has had them.
    if os.environ.get("UBMC_TEST_LARGE_MACHINE"):
        problems += utilities(args, password, wait, system)

    problems += redfishtool(args, password, wait, used, system)
    return problems


def redfishtool(args, password, wait, used, system):
    """What is read and changed by redfishtool, and the trace of a claim; each change is looked at in the API. The host is off, and on at the end."""
    problems = []
    given = ["-r", args.host, "-u", args.user, "-p", password, "-A", "Basic", "-S", "Always"]

    def does(*command, data=None):
        options = [] if data is None else ["-d", json.dumps(data)]
        code, said = tool([*given, *options, *command], "redfishtool")
        if code != 0:
            problems.append(f"redfishtool {' '.join(command)}: {code}: {said[-600:]}")
        return said

    def check(what, holds):
        if not holds:
            problems.append(f"redfishtool {what}: the service does not say so")

    of_system = ("Systems", "-I", "system")
    for command, name in [
        ((*of_system, "get"), "PowerState"),
        (("Chassis", "-I", "chassis", "Thermal"), "Temperatures"),
        (("Managers", "-I", "bmc", "get"), "FirmwareVersion"),
        (("SessionService", "get"), "Sessions"),
        (("AccountService", "Accounts"), "Members"),
    ]:
        said = does(*command)
        if name not in said:
            problems.append(f"redfishtool {' '.join(command)} does not show {name}: {said[-600:]}")
    # All of it while the host is off: while it comes up it changes between the tool's look and its change, which is refused then.
    does(*of_system, "setAssetTag", "rack-7")
    system.refresh(force=True)
    check("setAssetTag", system.json["AssetTag"] == "rack-7")
    for led in ("Lit", "Off"):
        does(*of_system, "setIndicatorLed", led)
        system.refresh(force=True)
        check(f"setIndicatorLed {led}", system.json["IndicatorLED"] == led)
    api = root_of(args, password)
    account = "/redfish/v1/AccountService/Accounts/handmade"
    does("AccountService", "adduser", "handmade", "first-secret-7", "Operator")
    check("adduser", api.get(account).dict.get("RoleId") == "Operator")
    does("AccountService", "useradmin", "handmade", "setRoleId", "ReadOnly")
    check("useradmin setRoleId", api.get(account).dict.get("RoleId") == "ReadOnly")
    does("AccountService", "useradmin", "handmade", "disable")
    check("useradmin disable", api.get(account).dict.get("Enabled") is False)
    does("AccountService", "deleteuser", "handmade")
    check("deleteuser", api.get(account).status == 404)
    api.logout()
    uri = "http://boot.example/by-hand.efi"
    for target in ("Pxe", "Cd", "UefiHttp"):
        if target == "UefiHttp":
            # Which its own command does not know.
            boot = {"BootSourceOverrideTarget": target, "BootSourceOverrideEnabled": "Once", "HttpBootUri": uri}
            does("raw", "PATCH", system.path, data={"Boot": boot})
        else:
            does(*of_system, "setBootOverride", "Once", target)
        system.refresh(force=True)
        boot = system.json["Boot"]
        check(f"boot from {target}", (boot["BootSourceOverrideTarget"], boot["BootSourceOverrideEnabled"]) == (target, "Once"))
        if target == "UefiHttp":
            check("the URI to boot from", boot["HttpBootUri"] == uri)
        does(*of_system, "reset", "On")
        wait("On")
        used(f"{target} by redfishtool")
        does(*of_system, "reset", "ForceOff")
        wait("Off")
    does(*of_system, "reset", "On")
    wait("On")
    return problems


def has_property(schemas, schema, kind, name):
    """Whether a complex type of one of DMTF's schemas, in any of its versions, has a property."""
    text = (pathlib.Path(schemas) / f"{schema}_v1.xml").read_text()
    types = re.findall(rf'<ComplexType Name="{kind}"[^>]*>(.*?)</ComplexType>', text, re.DOTALL)
    if not types:
        raise SystemExit(f"{schema} has no {kind}")
    return any(f'Name="{name}"' in one for one in types)


def profiles(args, password):
    """What the profiles in a folder ask for, by DMTF's Interop Validator: all of it, but for what DMTF's schemas rule out."""
    # The validator wants a profile that another one asks for under the name of the oldest release that would do.
    folder = pathlib.Path(args.scratch) / "profiles"
    folder.mkdir()
    found = sorted(pathlib.Path(args.profiles).glob("*.json"))
    for profile in found:
        shutil.copy(profile, folder)
        for name, wanted in json.loads(profile.read_text()).get("RequiredProfiles", {}).items():
            newest = sorted(pathlib.Path(args.profiles).glob(f"{name}.v*.json"))[-1]
            shutil.copy(newest, folder / f"{name}.v{wanted['MinVersion'].replace('.', '_')}.json")
    # What a host hands over is known once it ran.
    switch_on(args, password)
    missing = {}
    for profile in found:
        logs = pathlib.Path(args.scratch) / "interop" / profile.stem
        given = ["-r", f"https://{args.host}", "-u", args.user, "-p", password, "--nooemcheck", "--logdir", str(logs)]
        code, said = tool([*given, str(folder / profile.name)], "rf_interop_validator")
        reports = list(logs.glob("**/*.html"))
        if not reports:
            return [f"{profile.name}: no report ({code}): {said[-4000:]}"]
        total = re.search(r"\|\s+(\d+)\s+\|\s+(\d+)\s+\|\s+(\d+)\s+\|", said)
        print(f"{profile.stem}: passed, warned, failed: {total.groups() if total else None}")
        if total is None or int(total.group(1)) < 50:
            return [f"{profile.name}: not all of it was looked at: {said[-2000:]}"]
        for row in re.findall(r"<tr[^>]*>(.*?)</tr>", reports[0].read_text(), re.DOTALL):
            cells = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
            cells = [" ".join(html.unescape(re.sub("<[^>]+>", " ", cell)).split()) for cell in cells]
            if len(cells) >= 2 and cells[-1] == "FAIL" and sum(map(len, cells)) < 2000:
                name = re.sub(r"/\d+/", "/", cells[0])
                missing.setdefault(name, set()).add(f"{profile.stem}: {' | '.join(cells[1:-1])}")
    ruled_out = set(PROFILES_CONTRADICT)
    problems = [f"{name}: {why}" for name in sorted(set(missing) - ruled_out) for why in sorted(missing[name])]
    problems += [f"{name} is there: it contradicts no schema any more" for name in sorted(ruled_out - set(missing))]
    for name, (schema, kind) in PROFILES_CONTRADICT.items():
        if has_property(args.schemas, schema, kind, name.rsplit("/", 1)[-1]):
            problems.append(f"{name} is in the schema {schema} by now")
    if len(found) < 3:
        problems.append(f"not all profiles are in {args.profiles}: {found}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["service", "protocol", "use-cases", "claim", "profiles"])
    parser.add_argument("host")
    parser.add_argument("--user", required=True)
    parser.add_argument("--password-file", required=True)
    parser.add_argument("--schemas", required=True)
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--profiles")
    parser.add_argument("--image", help="with claim: the URL of a CD, which another image of the same server follows")
    parser.add_argument("--host-on", action="store_true")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    password = pathlib.Path(args.password_file).read_text().strip()
    parts = {"service": service, "protocol": protocol, "use-cases": use_cases, "claim": claim, "profiles": profiles}
    problems = parts[args.part](args, password)
    for problem in problems:
        print(problem)
    print(json.dumps({"part": args.part, "problems": len(problems)}))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
