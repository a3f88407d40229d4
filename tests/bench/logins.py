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


def binds(site):
    program = os.path.join(build, "tests", "bench", "binds")
    said = subprocess.run([program, site.env["POSTERN_LDAP_URI"], site.env["POSTERN_PEOPLE_DN"], site.env["POSTERN_PASSWORD"], str(CONNECTIONS), "20",
                           str(SECONDS)], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    return int(said[0]) / float(said[1])


def median_of(runs):
    return statistics.median(run.count / run.seconds for run in runs), statistics.median(run.count / max(run.cpu, 1 / bench.TICK) for run in runs)


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
        raw, imap, pop3 = [], [], []
        for _ in range(rounds):
            raw.append(binds(site))
            imap.append(bench.Run(server, "login", "imap", server.imap, bench.READERS, CONNECTIONS, SECONDS))
            pop3.append(bench.Run(server, "login", "pop3", server.pop3, bench.READERS, CONNECTIONS, SECONDS))
        limit = statistics.median(raw)
        print(f"| what | /s | of the binds | /CPU s |\n|---|---:|---:|---:|\n| binds, {CONNECTIONS} connections | {limit:,.0f} | 1.00 | |")
        for title, runs in (("IMAP logins", imap), ("POP3 logins", pop3)):
            rate, per_cpu = median_of(runs)
            print(f"| {title}, {CONNECTIONS} connections | {rate:,.0f} | {rate / limit:.2f} | {per_cpu:,.0f} |")
    finally:
        site.close()


main()
