#!/usr/bin/env python3
"""Logins beside the binds that the same slapd can do: what the gateway adds to the directory's own work. Prints a table in Markdown; asserts nothing
about time. README.md says what the rows mean.

usage: logins.py BUILD_DIR [--rounds N]      (an optimised build)"""
import os
import statistics
import subprocess
import sys

build = os.path.abspath(sys.argv[1])
rounds = int(sys.argv[sys.argv.index("--rounds") + 1]) if "--rounds" in sys.argv else 5
sys.argv = ["bench.py", build, "--messages", "10"]
import bench  # noqa: E402
import harness  # noqa: E402

CONNECTIONS, SECONDS = 16, 3


def hash_passwords(site):
    """{SSHA}, as the rate of the directory depends on it."""
    hashed = subprocess.run(["/usr/sbin/slappasswd", "-h", "{SSHA}", "-s", site.env["POSTERN_PASSWORD"]], stdout=subprocess.PIPE, text=True,
                            check=True).stdout.strip()
    for i in range(20):
        site.modify(f"uid=u{i},{site.env['POSTERN_PEOPLE_DN']}", userPassword=hashed)


class Costs:
    """What one round did, and the CPU time that the gateway and the directory spent on it."""

    def __init__(self, site, gateway, work):
        slapd = site.slapd_pid()
        before = bench.cpu_seconds(slapd), bench.cpu_seconds(gateway)
        self.count, self.seconds = work()
        self.slapd, self.gateway = bench.cpu_seconds(slapd) - before[0], bench.cpu_seconds(gateway) - before[1]


def binds(site):
    program = os.path.join(build, "tests", "bench", "binds")
    said = subprocess.run([program, site.env["POSTERN_LDAP_URI"], site.env["POSTERN_PEOPLE_DN"], site.env["POSTERN_PASSWORD"], str(CONNECTIONS), "20",
                           str(SECONDS)], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return int(said[0]), float(said[1])


def logins(server, protocol, port):
    run = bench.Run(server, "login", protocol, port, bench.READERS, CONNECTIONS, SECONDS)
    return run.count, run.seconds


def main():
    site = harness.Site()
    try:
        site.set_agent(posternLoginFailureMilliseconds="0")
        bench.add_users(site)
        hash_passwords(site)
        mail = os.path.join(site.dir, "mail", "sales")
        for user in range(20):
            bench.make_box(os.path.join(mail, f"u{user}", "Maildir"), [])
        server = bench.Postern(site, mail)
        rows = {"binds": lambda: binds(site), "IMAP logins": lambda: logins(server, "imap", server.imap),
                "POP3 logins": lambda: logins(server, "pop3", server.pop3)}
        done = {title: [] for title in rows}
        for _ in range(rounds):
            for title, work in rows.items():
                done[title].append(Costs(site, server.pid, work))
        print(f"| what, {CONNECTIONS} connections | /s | of the binds | gateway CPU µs | slapd CPU µs | bind's CPU of both |\n|---|---:|---:|---:|---:|---:|")
        for title, runs in done.items():
            rate, gateway, slapd = (statistics.median(figure(run) for run in runs) for figure in (
                lambda run: run.count / run.seconds, lambda run: run.gateway / run.count * 1e6, lambda run: run.slapd / run.count * 1e6))
            if title == "binds":
                limit, alone = rate, slapd
            print(f"| {title} | {rate:,.0f} | {rate / limit:.2f} | {gateway:.0f} | {slapd:.0f} | {alone / (gateway + slapd):.2f} |")
    finally:
        site.close()


main()
