#!/usr/bin/env python3
"""What many objects cost: N post offices, each with a link, in a real slapd, followed by config_driver (src/config alone, without sessions). Prints
the time of the first full reading, of a full refresh, the effect of an edit, and the memory. usage: edit_scale.py BUILD_DIR [N]"""
import os
import re
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(here), "e2e"))
if len(sys.argv) < 2:
    sys.exit(__doc__)
os.environ["POSTERN_BUILD"] = os.path.abspath(sys.argv[1])
import directory    # noqa: E402  (it reads POSTERN_BUILD)
import watch        # noqa: E402
from directory import PASSWORD, SUFFIX, Slapd, poll    # noqa: E402
from watch import AGENT, MAIL, Driver    # noqa: E402


def load(server, count):
    """By slapadd: ldapadd would flush the disk for each."""
    server.stop()
    with open(server.path("many.ldif"), "w") as file:
        for i in range(count):
            file.write(f"dn: cn=Office {i},{MAIL}\nobjectClass: posternPostOffice\ncn: Office {i}\nposternPath: /srv/mail/o{i}\n"
                       f"posternDomain: d{i}.example.org\nposternMailboxTemplate: %u/Maildir\n\n"
                       f"dn: cn=Link {i},{AGENT}\nobjectClass: posternPostOfficeLink\ncn: Link {i}\nposternPostOffice: cn=Office {i},{MAIL}\n"
                       f"posternPath: /srv/mail/links/o{i}\n\n")
    code, said = directory.run("slapadd", "-q", "-F", server.path("slapd.d"), "-n", "1", "-l", server.path("many.ldif"))
    if code != 0:
        raise RuntimeError(said)
    server.start()


def memory(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) / 1024


def field(d, name):
    return int(re.search(rf"{name}=(\d+)", d.ask("state")).group(1))


def main():
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10000
    server = Slapd()
    try:
        watch.prepare(server)
        d = Driver(server, server.path("state"))
        d.expect("first snapshot", "cache=0 ")
        few = memory(d.process.pid)
        print("few objects:", d.ask(f"latency {server.admin} {PASSWORD}"), end="", flush=True)
        d.end()
        load(server, count)
        os.mkdir(server.path("state-many"))
        began = time.monotonic()
        d = Driver(server, server.path("state-many"))
        if not poll(lambda: f"offices={count + 2} " in d.ask("count"), 120):
            raise RuntimeError(d.ask("count"))
        print(f"start to published snapshot with {count} post offices and links: {(time.monotonic() - began) * 1000:.0f} ms, "
              f"of which the reading {field(d, 'refresh')} ms")
        time.sleep(1)      # the file of the last good state is written
        print("an edit of the agent:", d.ask(f"latency {server.admin} {PASSWORD}"), end="", flush=True)
        print("an edit of a link:", d.ask(f"latency-link {server.admin} {PASSWORD} cn=Link 77,{AGENT}"), end="", flush=True)
        print("an edit of a domain:", d.ask(f"latency-domain {server.admin} {PASSWORD} cn=Office 77,{MAIL}"), end="", flush=True)
        times = []
        for _ in range(5):
            since = field(d, "refreshes")
            d.ask("refresh")
            poll(lambda: field(d, "refreshes") > since)
            times.append(field(d, "refresh"))
        print(f"full refresh: {sorted(times)[2]} ms (median of 5)")
        print(f"memory: {memory(d.process.pid):.1f} MB, {(memory(d.process.pid) - few) * 1024 / count:.2f} KB for each post office with its link")
        d.end()
    finally:
        server.close()


main()
