#!/usr/bin/env python3
"""Benchmarks IMAP through a post office link beside nginx's mail proxy and Dovecot's own proxy, all in front of the same Dovecot, in turn. Prints a
table in Markdown for each kind of connection: medians of several rounds. CPU is that of the proxy's process tree alone. Asserts nothing about time.

usage: relay.py BUILD_DIR [--rounds N] [--megabytes N] [--idle N] [--seconds N] [--only PROXY]
(an optimised build; needs nginx with its mail module and dovecot-imapd)

What the proxies do at a login is not the same: posternd lets the directory verify every password by a bind, nginx asks a web server that says yes to all
(itself), and Dovecot's proxy believes every password."""
import argparse
import os
import socket
import statistics
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
parser = argparse.ArgumentParser()
parser.add_argument("build")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--megabytes", type=int, default=1000)
parser.add_argument("--idle", type=int, default=300)
parser.add_argument("--seconds", type=float, default=3)
parser.add_argument("--only", default="")
options = parser.parse_args()
os.environ["POSTERN_BUILD"] = os.path.abspath(options.build)
sys.argv = sys.argv[:1]
sys.path.insert(0, os.path.join(os.path.dirname(here), "e2e"))
from dovecot import Dovecot, become_nobody, is_missing  # noqa: E402
import harness  # noqa: E402

LOAD = os.path.join(os.environ["POSTERN_BUILD"], "tests", "bench", "load")
TICK = os.sysconf("SC_CLK_TCK")
USERS, MESSAGE = 20, 10_000_000
NEAR, FAR = f"0:{USERS}", f"{USERS}:{USERS}"    # users whose post office is reached in clear text, and over TLS
AT_ONCE = 50


def tree(pid):
    done = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], stdout=subprocess.PIPE, text=True)
    parents = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    found = [pid]
    for one in found:
        found += [child for child, parent in parents if parent == one]
    return found


def cpu_seconds(pid):
    total = 0
    for one in tree(pid):
        try:
            with open(f"/proc/{one}/stat") as file:
                text = file.read()
        except OSError:
            continue
        total += sum(map(int, text[text.rindex(")") + 2:].split()[11:15]))
    return total / TICK


def memory_kib(pid):
    total = 0
    for one in tree(pid):
        try:
            # smaps_rollup of the gateway's agent can be read by root alone
            with open(f"/proc/{one}/status") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("RssAnon:"))
        except OSError:
            pass
    return total


class Way:
    """One kind of connection through one proxy."""

    def __init__(self, kind, name, pid, port, tls, users):
        self.kind, self.name, self.pid, self.port, self.tls, self.users = kind, name, pid, port, tls, users
        self.user = "u" + users.split(":")[0]

    def command(self, *words):
        return [LOAD, *(["tls"] if self.tls else []), *map(str, words)]

    def load(self, *words):
        """What was done, seconds, octets, and CPU seconds of the proxy meanwhile. The timed part begins when load is ready, if it says so."""
        process = subprocess.Popen(self.command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if words[0] != "login" and process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{words} at {self.name}")
        before = cpu_seconds(self.pid)
        output = process.communicate("\n")[0]
        cpu = cpu_seconds(self.pid) - before
        if process.returncode != 0:
            raise RuntimeError(f"{words} at {self.name}")
        count, seconds, octets = output.split()[-3:]
        return int(count), float(seconds), int(octets), max(cpu, 1 / TICK)

    def idle(self):
        """Its clients in IDLE, until standard input is closed."""
        process = subprocess.Popen(self.command("idle", self.port, self.users, options.idle), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"idle at {self.name}")
        return process


# --- the proxies

def start_nginx(place, backend, pair):
    imap, imaps, auth = (harness.free_port() for _ in range(3))
    os.makedirs(place)
    modules = "/usr/lib/nginx/modules/ngx_mail_module.so"
    with open(os.path.join(place, "nginx.conf"), "w") as file:
        file.write(f"""{f'load_module {modules};' if os.path.exists(modules) else ''}
daemon off;
worker_processes 2;
pid {place}/pid;
error_log {place}/error.log;
events {{ worker_connections 8000; }}
mail {{
  auth_http 127.0.0.1:{auth}/;
  imap_capabilities IMAP4rev1 LITERAL+ IDLE UIDPLUS;
  ssl_certificate {pair};
  ssl_certificate_key {pair};
  server {{ listen 127.0.0.1:{imap}; protocol imap; imap_auth plain login; }}
  server {{ listen 127.0.0.1:{imaps} ssl; protocol imap; imap_auth plain login; }}
}}
http {{
  access_log off;
  client_body_temp_path {place}/a; proxy_temp_path {place}/b; fastcgi_temp_path {place}/c; uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;
  server {{
    listen 127.0.0.1:{auth};
    location / {{
      add_header Auth-Status OK; add_header Auth-Server 127.0.0.1; add_header Auth-Port {backend}; return 200;
    }}
  }}
}}
""")
    process = subprocess.Popen(["/usr/sbin/nginx", "-p", place, "-c", os.path.join(place, "nginx.conf"), "-e", os.path.join(place, "error.log")],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

    def answers():
        try:
            with socket.create_connection(("127.0.0.1", imap), 5) as s:
                return s.recv(10).startswith(b"* OK")
        except OSError:
            return False
    harness.poll(answers, what="nginx")
    return process, imap, imaps


FAST_LOGINS = "service imap-login {\n service_count = 0\n process_min_avail = 2\n}\n"
FAST_IMAP = FAST_LOGINS + "service imap {\n service_count = 1000\n process_min_avail = 4\n}\nservice anvil {\n client_limit = 20000\n}\nservice auth {\n client_limit = 20000\n}\n"


def start_dovecot_proxy(place, pair, *backend):
    os.makedirs(place)
    imaps = harness.free_port()
    proxy = Dovecot(place, os.path.join(place, "nowhere"), proxy=("127.0.0.1", *backend), tls=(pair, imaps), more=FAST_LOGINS, own_session=True)
    proxy.start()
    return proxy, imaps


def join_pair(site):
    tls = os.path.join(site.dir, "tls")
    names = os.listdir(tls)
    pair = os.path.join(site.dir, "pair.pem")
    with open(pair, "w") as out:
        for choice in (("server.pem", "server.crt", "cert.pem"), ("server.key", "key.pem", "server.pem")):
            with open(os.path.join(tls, next(name for name in choice if name in names))) as file:
                out.write(file.read())
    return pair


# --- posternd in front of the same Dovecot

def set_up(site, poa, poa_imaps):
    for office, tls in (("Sales", f"posternPort: {poa.port}\nposternTls: disabled"),
                        ("Research", f"posternPort: {poa_imaps}\nposternTls: implicit\nposternTlsCaFile: ca.pem")):
        dn = f"cn={office},ou=mail,{site.suffix}"
        site.ldap("ldapadd", text=f"dn: cn=POA,{dn}\nobjectClass: posternPostOfficeAgent\ncn: POA\nposternHost: 127.0.0.1\n"
                                  f"posternPoaTimeoutMilliseconds: 60000\nposternPoaLoginMilliseconds: 60000\n{tls}\n\n")
        site.modify(dn, posternAccessMode="clientServer")
    for i in range(2 * USERS):
        site.add_user(f"u{i}", office="Sales" if i < USERS else "Research")

    def relayed(user):
        client = site.imap_client(user, login=False)
        try:
            client.login(user, "secret")
            client.xatom("ID", "NIL")
            return b"Dovecot" in (client.response("ID")[1][0] or b"")
        except client.error:
            return False
        finally:
            client.shutdown()
    for user in ("u0", f"u{USERS}"):
        harness.poll(lambda: relayed(user), what=f"the POA of {user}")
        client = site.imap_client(user)
        client.append("INBOX", None, None, b"Subject: x\r\n\r\n" + b"0123456789012345678901234567890123456789012345678901234567890123456789abcdef\r\n"
                      * (MESSAGE // 78))
        client.logout()


def main():
    become_nobody()
    if is_missing() or not os.path.exists("/usr/sbin/nginx"):
        sys.exit("needs dovecot with IMAP, and nginx")
    site = harness.Site()
    running, nginx = [], None
    try:
        pair, poa_imaps = join_pair(site), harness.free_port()
        place = os.path.join(site.dir, "poa")
        os.mkdir(place)
        poa = Dovecot(place, os.path.join(place, "mail"), tls=(pair, poa_imaps), more=FAST_IMAP, own_session=True)
        running.append(poa)
        poa.start()
        set_up(site, poa, poa_imaps)
        nginx, nginx_imap, nginx_imaps = start_nginx(os.path.join(site.dir, "nginx"), poa.port, pair)
        near, near_imaps = start_dovecot_proxy(os.path.join(site.dir, "near"), pair, poa.port)
        running.append(near)
        far, far_imaps = start_dovecot_proxy(os.path.join(site.dir, "far"), pair, poa_imaps, "ssl=any-cert")
        running.append(far)
        kinds = "clear text", "TLS to the client", "TLS on both sides"
        ways = [Way(kinds[0], "posternd", site.pid, site.imap, False, NEAR), Way(kinds[0], "nginx", nginx.pid, nginx_imap, False, NEAR),
                Way(kinds[0], "Dovecot", near.process.pid, near.port, False, NEAR),
                Way(kinds[1], "posternd", site.pid, site.imaps, True, NEAR), Way(kinds[1], "nginx", nginx.pid, nginx_imaps, True, NEAR),
                Way(kinds[1], "Dovecot", near.process.pid, near_imaps, True, NEAR),
                Way(kinds[2], "posternd", site.pid, site.imaps, True, FAR), Way(kinds[2], "Dovecot", far.process.pid, far_imaps, True, FAR)]
        print_tables([way for way in ways if options.only in way.name])
    finally:
        if nginx is not None:
            nginx.terminate()
            nginx.wait(10)
        for one in running:
            one.stop()
        site.close()


# --- the tables

def measure_idle(ways, note):
    """Before anything else: later the heap holds what was freed. Those of one kind stay while the next kind comes, for the same reason."""
    idle = []
    for way in ways:
        before = memory_kib(way.pid)
        idle.append(way.idle())
        note(way, "KiB per idle connection", (memory_kib(way.pid) - before) / options.idle)
    for process in idle:
        process.communicate()


def measure(way, note):
    rounds = max(1, options.megabytes * 1_000_000 // MESSAGE)
    count, seconds, _, cpu = way.load("login", "imap", way.port, way.users, 16, options.seconds)
    note(way, "logins /s", count / seconds)
    note(way, "logins /CPU s", count / cpu)
    count, seconds, octets, cpu = way.load("imap", way.port, way.user, rounds, "SELECT INBOX", "FETCH 1 BODY.PEEK[]")
    note(way, "MB/s", octets / seconds / 1e6)
    note(way, "CPU s per GB", cpu / octets * 1e9)
    for connections in (1, AT_ONCE):
        count, seconds, _, cpu = way.load("noop", way.port, way.users, connections, options.seconds)
        note(way, f"round trips /s, {connections} connection{'s' if connections > 1 else ''}", count / seconds)
        note(way, f"round trips /CPU s, {connections} connection{'s' if connections > 1 else ''}", count / cpu)


def print_tables(ways):
    values = {}

    def note(way, row, value):
        values.setdefault(way.kind, {}).setdefault(row, {}).setdefault(way.name, []).append(value)

    measure_idle(ways, note)
    for _ in range(options.rounds):
        for way in ways:
            measure(way, note)
    print(f"{options.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for kind, rows in values.items():
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        print(f"\n| {kind} | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
        for row, found in rows.items():
            print(f"| {row} | " + " | ".join(f"{statistics.median(found[name]):,.2f}" for name in names) + " |")


main()
