#!/usr/bin/env python3
"""Benchmarks posternd beside Debian's Dovecot: same machine, same run, same slapd, same messages, the two in turn. Prints a table in Markdown:
medians of several rounds: rates, messages or the like for each second of CPU time of the server's whole process tree, and their ratios.
Asserts nothing about time. README.md says what the rows mean.

usage: bench.py BUILD_DIR [--rounds N] [--messages N] [--only WORD]     (an optimised build; needs dovecot-imapd -pop3d -lmtpd -ldap)"""
import argparse
import os
import pwd
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

here = os.path.dirname(os.path.abspath(__file__))
parser = argparse.ArgumentParser()
parser.add_argument("build")
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--messages", type=int, default=100_000)
parser.add_argument("--only", default="")
parser.add_argument("--hold", action="store_true", help="start both servers on the mail, print where, and wait for the end of the input")
options = parser.parse_args()
os.environ["POSTERN_BUILD"] = os.path.abspath(options.build)
sys.argv = sys.argv[:1]
sys.path.insert(0, os.path.join(os.path.dirname(here), "e2e"))
import harness  # noqa: E402

LOAD = os.path.join(os.path.abspath(options.build), "tests", "bench", "load")
TICK = os.sysconf("SC_CLK_TCK")
READERS = "0:20"      # users whose mailboxes of ten messages are only read
WRITERS = "20:20"     # users whose mailboxes are written to
IDLERS = 1000         # users with a connection in IDLE each, from u40 on


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

    def __init__(self, site, mail, more=""):
        self.dir = tempfile.mkdtemp(prefix="dovecot-", dir=site.dir)
        os.chmod(self.dir, 0o755)
        self.mail = mail
        self.imap, self.pop3, self.delivery = (harness.free_port() for _ in range(3))
        self.delivery_protocol = "lmtp"
        with open(os.path.join(self.dir, "ldap.conf"), "w") as file:
            file.write(f"uris = {site.env['POSTERN_LDAP_URI']}\nauth_bind = yes\n"
                       # saves it the search, as its documentation advises
                       f"auth_bind_userdn = uid=%n,{site.env['POSTERN_PEOPLE_DN']}\nbase = {site.env['POSTERN_PEOPLE_DN']}\n"
                       f"dn = cn=gateway,{site.suffix}\ndnpass = {open(os.path.join(site.dir, 'credentials', 'gateway')).read().strip()}\n"
                       "pass_filter = (&(objectClass=posternMailUser)(uid=%u))\npass_attrs = uid=user\n")
        owner = "root" if os.geteuid() == 0 else subprocess.getoutput("id -un")
        login = "dovenull" if os.geteuid() == 0 else owner
        internal = "dovecot" if os.geteuid() == 0 else owner
        # Dovecot refuses to serve mail as root
        uid, gid = (pwd.getpwnam("mail")[2:4]) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
        if os.geteuid() == 0:
            os.chmod(site.dir, 0o711)
            subprocess.run(["chown", "-R", f"{uid}:{gid}", mail], check=True)
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
mail_uid = {uid}
mail_gid = {gid}
default_login_user = {login}
default_internal_user = {internal}
mail_location = maildir:{mail}/%n/Maildir
mail_max_userip_connections = 0
maildir_very_dirty_syncs = no
default_process_limit = 100
default_client_limit = 4000
service auth {{
  client_limit = 20000
}}
service anvil {{
  client_limit = 20000
}}
passdb {{
  driver = ldap
  args = {self.dir}/ldap.conf
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={mail}/%n allow_all_users=yes
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
  process_limit = 2000
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
{more}""")
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

    def restart(self, user):
        """Without anything in memory or in its index of the user's mailbox."""
        self.stop()
        subprocess.run(f"rm -f {self.mail}/{user}/Maildir/dovecot.index* {self.mail}/{user}/Maildir/dovecot.list.index*", shell=True, check=True)
        self.start()


class Postern:
    name = "posternd"

    def __init__(self, site, mail):
        self.mail = mail
        self.site = site
        self.pid = site.pid
        self.imap, self.pop3, self.delivery, self.delivery_protocol = site.imap, site.pop3, site.smtp, "smtp"

    def restart(self, user):
        """The agent is started anew: the supervisor stays."""
        old = self.site.agent_pid()
        subprocess.run(f"rm -f {self.mail}/{user}/Maildir/postern-index* {self.mail}/{user}/Maildir/postern-cache*", shell=True, check=True)
        os.kill(old, signal.SIGKILL)
        harness.poll(lambda: self.site.agent_pid() not in (None, old), what="the new agent")
        harness.poll(self.answers, what="the new agent's greeting")

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.imap), timeout=5) as s:
                return s.recv(4) == b"* OK"
        except OSError:
            return False


class Run:
    """One run of the load client, and what it cost the server."""

    def __init__(self, server, *arguments):
        with subprocess.Popen([LOAD, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            # what comes before the commands that count is not the row's
            if arguments[0] == "imap" and client.stdout.readline() != "ready\n":
                raise RuntimeError(f"{server.name}: the client failed")
            before = cpu_seconds(server.pid)
            client.stdin.close()
            said = client.stdout.read().split()
        if client.returncode != 0:
            raise RuntimeError(f"{server.name}: the client failed")
        # what a server still does after the client's last answer belongs to it
        time.sleep(0.1)
        self.cpu = cpu_seconds(server.pid) - before
        self.count, self.seconds, self.size = int(said[0]), float(said[1]), int(said[2])

    def times(self, factor):
        self.count *= factor
        return self

    def megabytes(self):
        self.count = self.size / 1e6
        return self


def raw_rate(directory, connections, count, size):
    """The limit: the system calls of a safe delivery, without a server."""
    rates = []
    for _ in range(options.rounds):
        os.makedirs(directory)
        done = subprocess.run([LOAD, "raw", directory, str(connections), str(count), str(size)], stdout=subprocess.PIPE, text=True, check=True)
        shutil.rmtree(directory)
        number, took, _ = done.stdout.split()
        rates.append(int(number) / float(took))
    return statistics.median(rates)


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


HEAD = ("| what | unit | posternd /s | Dovecot /s | ratio | posternd /CPU s | Dovecot /CPU s | ratio | raw /s |\n"
        "|---|---|---:|---:|---:|---:|---:|---:|---:|")


def compare(title, unit, servers, measure, prepare=None, raw=None):
    """measure(server) -> Run. In turn, several rounds, medians."""
    if options.only and options.only not in title:
        return
    rates = {server.name: [] for server in servers}
    per_cpu = {server.name: [] for server in servers}
    for _ in range(options.rounds):
        for server in servers:
            if prepare:
                prepare(server)
            run = measure(server)
            rates[server.name].append(run.count / run.seconds)
            # the clock of CPU time ticks every 10 ms
            per_cpu[server.name].append(run.count / max(run.cpu, 1 / TICK))
    ours, theirs = (statistics.median(rates[server.name]) for server in servers)
    our_cpu, their_cpu = (statistics.median(per_cpu[server.name]) for server in servers)
    print(f"| {title} | {unit} | {number(ours)} | {number(theirs)} | {ours / theirs:.2f} | {number(our_cpu)} | {number(their_cpu)} | "
          f"{our_cpu / their_cpu:.2f} | {number(raw()) if raw else ''} |", flush=True)


def fill(site, mail):
    """The users' mail: ten messages each, and one mailbox of many."""
    messages = harness.corpus(2000)
    sizes = []
    for path in messages:
        data = open(path, "rb").read()
        sizes.append((len(data), len(data) + data.count(b"\n") - data.count(b"\r\n")))
    for user in range(40):
        make_box(os.path.join(mail, f"u{user}", "Maildir"), [(messages[i], *sizes[i]) for i in range(user * 10, user * 10 + 10)])
    for user in range(40, 40 + IDLERS):
        make_box(os.path.join(mail, f"u{user}", "Maildir"), [(messages[0], *sizes[0])])
    many = [(messages[i % len(messages)], *sizes[i % len(messages)]) for i in range(options.messages)]
    make_box(os.path.join(mail, "big", "Maildir"), many, link=os.path.join(mail, "linked"))


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


def idle_memory(server):
    """KiB of each idle connection of a user of its own: logged in, INBOX selected, IDLE."""
    before = memory_kib(server.pid)
    with subprocess.Popen([LOAD, "idle", str(server.imap), f"40:{IDLERS}", str(IDLERS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as client:
        if client.stdout.readline() != "ready\n":
            raise RuntimeError("the idle clients failed")
        time.sleep(1)
        used = memory_kib(server.pid) - before
        client.stdin.close()
    return used / IDLERS


def add_users(site):
    names = [f"u{user}" for user in range(40 + IDLERS)] + ["big"]
    text = "".join(f"dn: {site.user_dn(name)}\nobjectClass: inetOrgPerson\nobjectClass: posternMailUser\nuid: {name}\ncn: {name}\nsn: {name}\n"
                   f"mail: {name}@example.org\nuserPassword: {site.env['POSTERN_PASSWORD']}\n"
                   f"posternPostOffice: cn=Sales,ou=mail,{site.suffix}\n\n" for name in names)
    site.ldap("ldapadd", text=text)


def reading(both):
    many = options.messages
    some = min(many, 20_000)
    title = f"{many:,} messages"

    def imap(times, *commands):
        return lambda s: Run(s, "imap", s.imap, "big", times, *commands)
    compare(f"SELECT, {title}, no index of its own", "SELECT", both, imap(1, "NOOP", "SELECT INBOX"), prepare=lambda s: s.restart("big"))
    compare(f"SELECT again, {title}", "SELECT", both, imap(1000, "SELECT INBOX", "SELECT INBOX"))
    compare(f"FETCH of flags, {title}", "message", both, lambda s: imap(10, "SELECT INBOX", "FETCH 1:* (UID FLAGS)")(s).times(many))
    compare(f"FETCH of envelopes, {title}, cached", "message", both,
            lambda s: imap(1, "SELECT INBOX", "FETCH 1:* ENVELOPE", "FETCH 1:* ENVELOPE")(s).times(many))
    compare(f"FETCH of bodies, {some:,} messages", "MB", both, lambda s: imap(2, "SELECT INBOX", f"FETCH 1:{some} BODY.PEEK[]")(s).megabytes())


def writing(site, both):
    for connections, count in ((1, 200), (20, 40)):
        def raw(connections=connections, count=count):
            return raw_rate(os.path.join(site.dir, "raw"), connections, count, 4096)
        clients = f"{connections} client{'s' if connections > 1 else ''}"
        compare(f"APPEND of 4 KB, {clients}", "message", both, lambda s: Run(s, "append", s.imap, WRITERS, connections, count, 4096), raw=raw)
        compare(f"delivery of 4 KB, {clients}", "message", both,
                lambda s: Run(s, "deliver", s.delivery_protocol, s.delivery, WRITERS, connections, count, 4096), raw=raw)


def memory(both):
    if options.only and options.only not in "memory":
        return
    ours, theirs = (idle_memory(server) for server in both)
    print(f"\nMemory of an idle connection, {IDLERS:,} users, PSS: posternd {ours:.1f} KiB, Dovecot {theirs:.1f} KiB, ratio {theirs / ours:.0f}")


def versions():
    said = [subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.split("\n")[0]
            for command in (["/usr/sbin/dovecot", "--version"], ["uname", "-sr"])]
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
    print(f"{os.cpu_count()} × {model}, {said[1]}, Dovecot {said[0]}, {options.rounds} rounds, load {os.getloadavg()[0]:.1f}\n")


def main():
    site = harness.Site()
    running = []
    try:
        # Half of a service's threads work for one post office at most: so many that each of the 20 writers has one, as it has a process of Dovecot's.
        site.set_agent(posternLoginFailureMilliseconds="0", posternImap4Threads="40", posternSmtpReceiveThreads="40")
        add_users(site)
        mail = os.path.join(site.dir, "mail", "sales")
        fill(site, mail)
        copy = os.path.join(site.dir, "dovecot-mail")
        subprocess.run(["cp", "-a", mail, copy], check=True)
        os.unlink(os.path.join(copy, "postern-postoffice"))
        both = (Postern(site, mail), Dovecot(site, copy))
        running.append(both[1])
        if options.hold:
            for server in both:
                print(server.name, "pid", server.pid, "imap", server.imap, "pop3", server.pop3, server.delivery_protocol, server.delivery,
                      server.mail, flush=True)
            sys.stdin.read()
            return
        versions()
        print(HEAD)
        compare("IMAP logins, 16 connections", "login", both, lambda s: Run(s, "login", "imap", s.imap, READERS, 16, 3))
        compare("POP3 logins, 16 connections", "login", both, lambda s: Run(s, "login", "pop3", s.pop3, READERS, 16, 3))
        compare("POP3 sessions of 10 messages, 8 connections", "session", both, lambda s: Run(s, "session", s.pop3, READERS, 8, 3))
        reading(both)
        writing(site, both)
        memory(both)
        running.pop().stop()
        if not options.only or "logins" in options.only:
            running.append(Dovecot(site, copy, "auth_cache_size = 10M\n"))
            print("\nThe same with Dovecot's cache of passwords, which asks the directory nothing, beside posternd, which asks at every login:\n")
            print(HEAD)
            compare("IMAP logins, 16 connections", "login", (both[0], running[0]), lambda s: Run(s, "login", "imap", s.imap, READERS, 16, 3))
    finally:
        for server in running:
            server.stop()
        site.close()


if __name__ == "__main__":
    main()
