#!/usr/bin/env python3
"""What a user's rights cost in a big directory: 1,000 classes of service, 10,000 distribution lists, many users, each on a few lists. Prints medians;
asserts nothing about time.

usage: rights.py BUILD_DIR [--users N]      (an optimised build with tests/e2e/config_driver)"""
import os
import sys

build = os.path.abspath(sys.argv[1])
users = int(sys.argv[sys.argv.index("--users") + 1]) if "--users" in sys.argv else 100_000
os.environ["POSTERN_BUILD"] = build
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import directory  # noqa: E402
import watch  # noqa: E402
from directory import PASSWORD, SUFFIX  # noqa: E402

LISTS, CLASSES = 10_000, 1_000


def write_ldif(file):
    people, mail = f"ou=people,{SUFFIX}", watch.MAIL
    for i in range(users):
        file.write(f"dn: uid=u{i},{people}\nobjectClass: inetOrgPerson\nobjectClass: posternMailUser\nuid: u{i}\ncn: u{i}\nsn: u{i}\nmail: u{i}@example.org\n"
                   f"posternPostOffice: cn=Sales,{mail}\n\n")
    for i in range(LISTS):
        file.write(f"dn: cn=list{i},{people}\nobjectClass: groupOfNames\ncn: list{i}\n")
        for j in range(30):
            file.write(f"member: uid=u{(i * 30 + j * 7) % users},{people}\n")
        if i % 10 == 0:
            file.write(f"member: cn=list{(i + 1) % LISTS},{people}\n")
        file.write("\n")
    for i in range(CLASSES):
        file.write(f"dn: cn=class{i},{watch.AGENT}\nobjectClass: posternClassOfService\ncn: class{i}\nposternMember: cn=list{i * 10},{people}\n"
                   f"posternImap4Access: {'prevent' if i % 2 else 'allow'}\n\n")


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


def main():
    server = directory.Slapd()
    try:
        server.configure("dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\nreplace: olcDbMaxSize\nolcDbMaxSize: 17179869184\n")
        watch.prepare(server)
        path = server.path("many.ldif")
        with open(path, "w") as file:
            write_ldif(file)
        server.stop()
        code, said = directory.run("slapadd", "-q", "-F", server.path("slapd.d"), "-n", "1", "-l", path)
        if code != 0:
            raise RuntimeError(said)
        server.start()
        d = watch.Driver(server, server.path("state"))
        d.expect("all classes", f"classes={CLASSES} ", 60)
        before = resident_kib(d.process.pid)
        print(f"{users} users, {LISTS} lists, {CLASSES} classes, in microseconds:", d.ask(f"cost 1000 {PASSWORD}").strip())
        for asked in (20_000, 40_000):    # as many as are kept, and twice that
            d.ask(f"cost {asked} {PASSWORD}")
            print(f"resident {before} KiB, after {asked} users {resident_kib(d.process.pid)} KiB")
        d.end()
    finally:
        server.close()


main()
