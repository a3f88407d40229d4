#!/usr/bin/env python3
"""Benchmarks posternd beside Debian's Dovecot: same machine, same run, same slapd, same messages, the two in turn. Prints a table in Markdown:
medians of several rounds, rates and CPU seconds, and their ratios. Asserts nothing about time.

usage: bench.py BUILD_DIR [--rounds N] [--messages N] [--only WORD]     (an optimised build; needs dovecot-imapd -pop3d -lmtpd -ldap)"""
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
parser = argparse.ArgumentParser()
parser.add_argument("build")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--messages", type=int, default=100_000)
parser.add_argument("--only", default="")
options = parser.parse_args()
os.environ["POSTERN_BUILD"] = os.path.abspath(options.build)
sys.argv = sys.argv[:1]
sys.path.insert(0, os.path.join(os.path.dirname(here), "e2e"))
import harness  # noqa: E402

LOAD = os.path.join(os.path.abspath(options.build), "tests", "bench", "load")
TICK = os.sysconf("SC_CLK_TCK")
USERS = 20


def descendants(pid):
    """pid and all below it, with their stat fields."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    text = file.read()
            except OSError:
                continue
            table[int(name)] = text[text.rindex(")") + 2:].split()
    found, wave = {}, [pid]
    while wave:
        found.update({one: table[one] for one in wave if one in table})
        wave = [one for one, fields in table.items() if int(fields[1]) in wave and one not in found]
    return found


def cpu_seconds(pid):
    """User and system time of the tree, children that have ended included."""
    return sum(sum(map(int, fields[11:15])) for fields in descendants(pid).values()) / TICK


def memory_kib(pid):
    """Proportional set size of the tree."""
    total = 0
    for one in descendants(pid):
        try:
            with open(f"/proc/{one}/smaps_rollup") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("Pss:"))
        except OSError:
            pass
    return total


class Dovecot:
    """Debian's Dovecot as its own documentation tunes it for speed, on a copy of the same mail."""
    name = "Dovecot"

    def __init__(self, site, mail):
        self.dir = os.path.join(site.dir, "dovecot")
        os.makedirs(self.dir)
        self.mail = mail
        self.imap, self.pop3, self.delivery = (harness.free_port() for _ in range(3))
        self.delivery_protocol = "lmtp"
        with open(os.path.join(self.dir, "ldap.conf"), "w") as file:
            file.write(f"uris = {site.env['POSTERN_LDAP_URI']}\nauth_bind = yes\nbase = {site.env['POSTERN_PEOPLE_DN']}\n"
                       f"dn = cn=gateway,{site.suffix}\ndnpass = {open(os.path.join(site.dir, 'credentials', 'gateway')).read().strip()}\n"
                       "pass_filter = (&(objectClass=posternMailUser)(uid=%u))\npass_attrs = uid=user\n")
        owner = "root" if os.geteuid() == 0 else subprocess.getoutput("id -un")
        login = "dovenull" if os.geteuid() == 0 else owner
        internal = "dovecot" if os.geteuid() == 0 else owner
        with open(os.path.join(self.dir, "dovecot.conf"), "w") as file:
            file.write(f"""
base_dir = {self.dir}/run
state_dir = {self.dir}/run
log_path = {self.dir}/log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_failure_delay = 0
first_valid_uid = 0
mail_uid = {os.geteuid()}
mail_gid = {os.getegid()}
default_login_user = {login}
default_internal_user = {internal}
mail_location = maildir:{mail}/%n/Maildir
mail_max_userip_connections = 0
maildir_very_dirty_syncs = no
default_process_limit = 2000
default_client_limit = 4000
passdb {{
  driver = ldap
  args = {self.dir}/ldap.conf
}}
userdb {{
  driver = static
  args = uid={os.geteuid()} gid={os.getegid()} home={mail}/%n allow_all_users=yes
}}
service imap-login {{
  service_count = 0
  process_min_avail = 2
  inet_listener imap {{
    port = {self.imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  service_count = 0
  process_min_avail = 2
  inet_listener pop3 {{
    port = {self.pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
service imap {{
  service_count = 1000
  process_min_avail = 4
  process_limit = 2000
}}
service pop3 {{
  service_count = 1000
  process_min_avail = 4
}}
service lmtp {{
  process_min_avail = 4
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.delivery}
  }}
}}
protocol lmtp {{
  auth_username_format = %Ln
}}
service stats {{
  process_limit = 1
}}
""")
        self.start()

    def start(self):
        subprocess.run(["/usr/sbin/dovecot", "-c", os.path.join(self.dir, "dovecot.conf")], check=True)
        path = os.path.join(self.dir, "run", "master.pid")
        harness.poll(lambda: os.path.exists(path) and open(path).read().strip(), what="Dovecot's start")
        self.pid = int(open(path).read())

    def stop(self):
        subprocess.run(["doveadm", "-c", os.path.join(self.dir, "dovecot.conf"), "stop"], check=False)
        harness.poll(lambda: not os.path.exists(f"/proc/{self.pid}") or open(f"/proc/{self.pid}/stat").read().split()[2] == "Z",
                     what="Dovecot's end")

    def forget(self, user):
        subprocess.run(f"rm -f {self.mail}/{user}/Maildir/dovecot.index* {self.mail}/{user}/Maildir/dovecot.list.index*", shell=True)


class Postern:
    name = "posternd"

    def __init__(self, site, mail):
        self.mail = mail
        self.site = site
        self.pid = site.pid
        self.imap, self.pop3, self.delivery, self.delivery_protocol = site.imap, site.pop3, site.smtp, "smtp"

    def forget(self, user):
        subprocess.run(f"rm -f {self.mail}/{user}/Maildir/postern-index* {self.mail}/{user}/Maildir/postern-cache*", shell=True)


def load(*arguments):
    done = subprocess.run([LOAD, *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=True)
    count, took, size = done.stdout.split()
    return int(count), float(took), int(size)


rows = []


def compare(title, unit, servers, measure, prepare=None, raw=None):
    """measure(server) -> (how many units, seconds). In turn, several rounds, medians."""
    if options.only and options.only not in title:
        return
    rates = {server.name: [] for server in servers}
    per_cpu = {server.name: [] for server in servers}
    for _ in range(options.rounds):
        for server in servers:
            if prepare:
                prepare(server)
            before = cpu_seconds(server.pid)
            count, took = measure(server)
            # what a server still does after the client's last answer belongs to it
            time.sleep(0.1)
            used = cpu_seconds(server.pid) - before
            rates[server.name].append(count / took)
            per_cpu[server.name].append(count / used if used > 0 else float("inf"))
    ours, theirs = statistics.median(rates["posternd"]), statistics.median(rates["Dovecot"])
    our_cpu, their_cpu = statistics.median(per_cpu["posternd"]), statistics.median(per_cpu["Dovecot"])
    cpu_ratio = "-" if our_cpu == float("inf") else f"{our_cpu / their_cpu:.1f}"
    floor = f"{raw():.0f}" if raw else ""
    rows.append(f"| {title} | {ours:,.1f} | {theirs:,.1f} | {ours / theirs:.2f} | {cpu_ratio} | {floor} |")
    print(rows[-1], f"({unit}/s)", flush=True)


def fill(site, mail):
    """The users' mail: ten messages each, and one mailbox of many."""
    messages = harness.corpus(2000)
    sizes = []
    for path in messages:
        data = open(path, "rb").read()
        sizes.append((len(data), len(data) + data.count(b"\n") - data.count(b"\r\n")))
    for number in range(USERS):
        make_box(os.path.join(mail, f"u{number}", "Maildir"), [(messages[i], *sizes[i]) for i in range(number * 10, number * 10 + 10)])
    many = [(messages[i % len(messages)], *sizes[i % len(messages)]) for i in range(options.messages)]
    make_box(os.path.join(mail, "big", "Maildir"), many, link=os.path.join(mail, "linked"))
    shutil.copytree(os.path.join(mail, "u0"), os.path.join(mail, "small"))


def make_box(box, messages, link=None):
    for sub in ("cur", "new", "tmp"):
        os.makedirs(os.path.join(box, sub), mode=0o700)
    if link:
        os.makedirs(link)
    with open(os.path.join(box, "dovecot-uidlist"), "w") as uidlist:
        uidlist.write(f"3 V1700000000 N{len(messages) + 1} G0123456789abcdef0123456789abcdef\n")
        for number, (path, size, virtual) in enumerate(messages, 1):
            name = f"{1600000000 + number}.M{number}P1.host,S={size},W={virtual}"
            target = os.path.join(box, "cur", name + ":2,S")
            if link:
                source = os.path.join(link, os.path.basename(path))
                # a file has a bounded number of links
                source += f".{number // 30000}"
                if not os.path.exists(source):
                    shutil.copyfile(path, source)
                os.link(source, target)
            else:
                shutil.copyfile(path, target)
            uidlist.write(f"{number} :{name}\n")
    if link:
        shutil.rmtree(link)


def idle_memory(server, count=1000):
    """KiB for each idle connection, logged in, INBOX selected."""
    before = memory_kib(server.pid)
    with subprocess.Popen([LOAD, "idle", str(server.imap), str(USERS), str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        if client.stdout.readline() != "ready\n":
            raise RuntimeError("the idle clients failed")
        used = memory_kib(server.pid) - before
        client.stdin.close()
    return used / count


def main():
    site = harness.Site()
    dovecot = None
    try:
        site.set_agent(posternLoginFailureMilliseconds="0")
        for user in [f"u{number}" for number in range(USERS)] + ["big", "small"]:
            site.add_user(user)
        mail = os.path.join(site.dir, "mail", "sales")
        fill(site, mail)
        copy = os.path.join(site.dir, "dovecot-mail")
        subprocess.run(["cp", "-al", mail, copy], check=True)
        subprocess.run(f"rm -f {copy}/postern-postoffice; for f in {copy}/*/Maildir/dovecot-uidlist; do cp $f $f.x; mv $f.x $f; done", shell=True, check=True)
        ours, dovecot = Postern(site, mail), Dovecot(site, copy)
        both = (ours, dovecot)

        def timed(*arguments):
            count, took, _ = load(*arguments)
            return count, took

        def megabytes(*arguments):
            _, took, size = load(*arguments)
            return size / 1e6, took

        print("| what | posternd | Dovecot | ratio | ratio per CPU second | raw |\n|---|---|---|---|---|---|")
        compare("IMAP logins, 16 connections", "logins", both, lambda s: timed("login", "imap", s.imap, USERS, 16, 3))
        compare("POP3 logins, 16 connections", "logins", both, lambda s: timed("login", "pop3", s.pop3, USERS, 16, 3))
        compare("POP3 sessions of 10 messages, 8 connections", "sessions", both, lambda s: timed("session", s.pop3, USERS, 8, 3))
        compare(f"SELECT of {options.messages:,} messages, no index", "SELECTs", both,
                lambda s: timed("imap", s.imap, "big", 1, "NOOP", "SELECT INBOX"), prepare=lambda s: s.forget("big"))
        compare(f"SELECT of {options.messages:,} messages, indexed", "SELECTs", both,
                lambda s: timed("imap", s.imap, "big", 1, "NOOP", "SELECT INBOX"))
        compare(f"FETCH of flags over {options.messages:,}", "messages", both,
                lambda s: tuple(x * y for x, y in zip(timed("imap", s.imap, "big", 5, "SELECT INBOX", "FETCH 1:* (UID FLAGS)"), (options.messages, 1))))
        compare(f"FETCH of envelopes over {options.messages:,}, cached", "messages", both,
                lambda s: tuple(x * y for x, y in zip(timed("imap", s.imap, "big", 1, "SELECT INBOX", "FETCH 1:* ENVELOPE", "FETCH 1:* ENVELOPE"), (options.messages, 1))))
        compare("body bytes, 20,000 messages, MB", "MB", both,
                lambda s: megabytes("imap", s.imap, "big", 1, "SELECT INBOX", "FETCH 1:20000 BODY.PEEK[]"))
        for connections, count in ((1, 200), (20, 40)):
            raw_dir = os.path.join(site.dir, "raw")

            def raw(connections=connections, count=count):
                os.makedirs(raw_dir)
                done, took, _ = load("raw", raw_dir, connections, count, 4096)
                shutil.rmtree(raw_dir)
                return done / took
            compare(f"APPEND of 4 KB, {connections} clients", "messages", both,
                    lambda s: timed("append", s.imap, USERS, connections, count, 4096), raw=raw)
            compare(f"delivery of 4 KB, {connections} clients", "messages", both,
                    lambda s: timed("deliver", s.delivery_protocol, s.delivery, USERS, connections, count, 4096), raw=raw)
        if not options.only or "memory" in options.only:
            a, b = idle_memory(ours), idle_memory(dovecot)
            rows.append(f"| memory of an idle connection at 1,000, KiB | {a:.1f} | {b:.1f} | {b / a:.2f} | | |")
            print(rows[-1])
    finally:
        if dovecot:
            dovecot.stop()
        site.close()


main()
