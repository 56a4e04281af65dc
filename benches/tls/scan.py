#!/usr/bin/env python3
"""Lets two scanners that everybody knows look at a proxyd of their own, and fails on what they find.

    benches/tls/scan.py --sslyze PYTHON --testssl testssl [--binary target/release/proxyd]

sslyze compares with Mozilla's "intermediate" list, which it carries along, on a certificate of an
elliptic curve and on one of RSA; testssl.sh tries the attacks that have names. Both are given a
certificate of an authority made here, for ten minutes of loopback: what testssl.sh says about its
days, its revocation and its DNS is not about us. A scanner that is not named is left out. Exit code
1 if anything is found, or if no scanner looked.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "benches/compare"))

import machine  # noqa: E402
import systems  # noqa: E402

# What each part of sslyze's report must say, beyond the list of suites, versions and curves.
SSLYZE = {
    "ssl_2_0_cipher_suites": ("is_tls_version_supported", False),
    "ssl_3_0_cipher_suites": ("is_tls_version_supported", False),
    "tls_1_0_cipher_suites": ("is_tls_version_supported", False),
    "tls_1_1_cipher_suites": ("is_tls_version_supported", False),
    "tls_1_2_cipher_suites": ("is_tls_version_supported", True),
    "tls_1_3_cipher_suites": ("is_tls_version_supported", True),
    "tls_compression": ("supports_compression", False),
    "tls_1_3_early_data": ("supports_early_data", False),
    "openssl_ccs_injection": ("is_vulnerable_to_ccs_injection", False),
    "tls_fallback_scsv": ("supports_fallback_scsv", True),
    "heartbleed": ("is_vulnerable_to_heartbleed", False),
    "robot": ("robot_result", "NOT_VULNERABLE_RSA_NOT_SUPPORTED"),
    "session_renegotiation": ("is_vulnerable_to_client_renegotiation_dos", False),
    "tls_extended_master_secret": ("supports_ems_extension", True),
}

# How often testssl.sh looks, where it says that it could not connect itself.
LOOKS = 4
OWN_FAULT = "connect problem"

# What testssl.sh may think badly of: the throwaway certificate, and its own OpenSSL.
NOT_OURS = ("cert_", "DNS_CAA", "engine_problem", "scanTime", "OCSP")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", default=os.path.join(ROOT, "target/release/proxyd"))
    parser.add_argument("--sslyze", metavar="PYTHON", help="the python that has it installed")
    parser.add_argument("--testssl", metavar="PROGRAM")
    args = parser.parse_args()
    if not args.sslyze and not args.testssl:
        sys.exit("scan: no scanner is named")
    with tempfile.TemporaryDirectory(prefix="proxyd-tls-") as run:
        ports = machine.free_ports(2)
        proxyd = start(args.binary, run, ports)
        try:
            found = []
            if args.sslyze:
                found += sslyze(args.sslyze, run, ports)
            if args.testssl:
                found += testssl(args.testssl, run, ports[0])
        finally:
            machine.stop(proxyd)
    for line in found:
        print(f"scan: {line}")
    sys.exit(1 if found else 0)


def start(binary, run, ports):
    """A proxyd with a listener for each kind of certificate, and nothing behind it."""
    authority(run)
    listeners = []
    for port, kind in zip(ports, ("ec", "rsa")):
        files = {"cert": f"{run}/{kind}.pem", "key": f"{run}/{kind}.key"}
        listeners.append({"bind": f"127.0.0.1:{port}", "tls": {"certificates": [files]}})
    file = {
        "listeners": listeners,
        "routes": [{"upstream": "app"}],
        "upstreams": {"app": {"targets": [f"127.0.0.1:{machine.free_ports(1)[0]}"]}},
        "control": {"socket": f"{run}/control.sock"},
        "access_log": "off",
        "state_dir": f"{run}/state",
    }
    with open(f"{run}/proxy.yaml", "w") as out:
        json.dump(file, out)
    with open(f"{run}/log", "w") as log:
        process = subprocess.Popen(
            [binary, "run", "--config", f"{run}/proxy.yaml"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    for port in ports:
        systems.wait_for(port, process, "proxyd", f"{run}/log")
    return process


def authority(run):
    """An authority of our own, and a leaf of each kind."""
    curve = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    openssl(run, "req", "-x509", "-newkey", *curve, "-nodes", "-days", "2", "-subj", "/CN=ours",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
            "-keyout", "ca.key", "-out", "ca.pem")  # fmt: skip
    with open(f"{run}/leaf", "w") as leaf:
        leaf.write(
            "subjectAltName=DNS:localhost,IP:127.0.0.1\n"
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
            "extendedKeyUsage=serverAuth\nauthorityKeyIdentifier=keyid\n"
        )
    for kind, key in (("ec", curve), ("rsa", ["rsa:2048"])):
        openssl(run, "req", "-newkey", *key, "-nodes", "-subj", "/CN=localhost",
                "-keyout", f"{kind}.key", "-out", f"{kind}.csr")  # fmt: skip
        openssl(run, "x509", "-req", "-in", f"{kind}.csr", "-days", "2", "-CA", "ca.pem",
                "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "leaf",
                "-out", f"{kind}.pem")  # fmt: skip


def openssl(run, *words):
    subprocess.run(["openssl", *words], cwd=run, check=True, capture_output=True)


def sslyze(python, run, ports):
    """What sslyze finds on both ports."""
    said = subprocess.run(
        [python, "-m", "sslyze", "--mozilla_config=intermediate", "--early_data"]
        + [f"--certinfo_ca_file={run}/ca.pem", f"--json_out={run}/sslyze.json"]
        + [f"localhost:{port}" for port in ports],
        capture_output=True, text=True,
    )  # fmt: skip
    found = []
    if said.returncode:
        at = said.stdout.find("COMPLIANCE AGAINST")
        found.append(f"sslyze: exit code {said.returncode}\n{said.stdout[at:]}{said.stderr}")
    with open(f"{run}/sslyze.json") as report:
        servers = json.load(report)["server_scan_results"]
    if len(servers) != len(ports):
        found.append(f"sslyze looked at {len(servers)} of {len(ports)} ports")
    for server in servers:
        for name, (key, wanted) in SSLYZE.items():
            part = (server["scan_result"] or {}).get(name, {})
            got = (part.get("result") or {}).get(key)
            if got != wanted:
                found.append(f"sslyze: {name}: {key} is {got} ({part.get('status')})")
    print(f"sslyze: {len(servers)} ports, {len(SSLYZE)} verdicts each beside Mozilla's list")
    return found


def testssl(program, run, port):
    """What testssl.sh thinks badly of."""
    for _ in range(LOOKS):
        found = one_look(program, run, port)
        # Its `openssl s_client` leaves as soon as its input ends, sometimes before the ticket has come
        # (RFC 8446 4.6.1: that follows the handshake); then it asks with a session that it has not.
        if not any(OWN_FAULT in one for one in found):
            break
    return found


def one_look(program, run, port):
    report = f"{run}/testssl.json"
    if os.path.exists(report):
        os.remove(report)
    subprocess.run(
        [program, "--quiet", "--color", "0", "--warnings", "off", "--ip", "one"]
        + ["--jsonfile", report, "--protocols", "--std", "--server-preference"]
        + ["--server-defaults", "--vulnerable", f"127.0.0.1:{port}"],
        capture_output=True, stdin=subprocess.DEVNULL, env={**os.environ, "TERM": "dumb"},
        timeout=90,
    )  # fmt: skip
    with open(report) as text:
        verdicts = json.load(text)
    ours = [one for one in verdicts if not one["id"].startswith(NOT_OURS)]
    good = sum(one["severity"] in ("OK", "INFO") for one in ours)
    print(f"testssl: {good} of {len(ours)} verdicts are good")
    if good < 40:
        return [f"testssl.sh came to {good} good verdicts only: it did not look"]
    return [
        f"testssl: {one['id']}: {one['severity']}: {one['finding']}"
        for one in ours
        if one["severity"] not in ("OK", "INFO")
    ]


if __name__ == "__main__":
    main()
