#!/usr/bin/env python3
"""Benchmarks IMAP through a post office link beside nginx's mail proxy and Dovecot's own proxy, all in front of the same Dovecot, in turn. Prints a
table in Markdown: medians of several rounds. CPU is that of the proxy's process tree alone. Asserts nothing about time.

usage: relay.py BUILD_DIR [--rounds N] [--megabytes N] [--idle N]     (an optimised build; needs nginx with its mail module and dovecot-imapd)

What the proxies do is not the same: posternd asks the directory for every login (two searches and a bind), nginx is told yes by itself, and
Dovecot's proxy believes every password."""
import argparse
import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
parser = argparse.ArgumentParser()
parser.add_argument("build")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--megabytes", type=int, default=1000)
parser.add_argument("--idle", type=int, default=200)
options = parser.parse_args()
os.environ["POSTERN_BUILD"] = os.path.abspath(options.build)
sys.argv = sys.argv[:1]
sys.path.insert(0, os.path.join(os.path.dirname(here), "e2e"))
from dovecot import Dovecot, become_nobody, is_missing  # noqa: E402
import harness  # noqa: E402

LOAD = os.path.join(os.environ["POSTERN_BUILD"], "tests", "bench", "load")
TICK = os.sysconf("SC_CLK_TCK")
USERS, MESSAGE = 20, 10_000_000


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


class Proxy:
    def __init__(self, name, pid, imap, imaps):
        self.name, self.pid, self.imap, self.imaps = name, pid, imap, imaps


def start_nginx(place, backend, site):
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
  ssl_certificate {place}/pair.pem;
  ssl_certificate_key {place}/pair.pem;
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
    join_pair(place, site)
    process = subprocess.Popen(["/usr/sbin/nginx", "-p", place, "-c", os.path.join(place, "nginx.conf"), "-e", os.path.join(place, "error.log")],
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return process, Proxy("nginx", process.pid, imap, imaps)


def join_pair(place, site):
    tls = os.path.join(site.dir, "tls")
    names = os.listdir(tls)
    certificate = next(name for name in ("server.pem", "server.crt", "cert.pem") if name in names)
    key = next(name for name in ("server.key", "key.pem", "server.pem") if name in names)
    with open(os.path.join(place, "pair.pem"), "w") as out:
        for name in (certificate, key):
            with open(os.path.join(tls, name)) as file:
                out.write(file.read())


def start_dovecot_proxy(place, backend, site):
    os.makedirs(place)
    join_pair(place, site)
    imaps = harness.free_port()
    proxy = Dovecot(place, os.path.join(site.dir, "nowhere"), proxy=("127.0.0.1", backend), tls=(os.path.join(place, "pair.pem"), imaps))
    proxy.start()
    return proxy, Proxy("Dovecot", proxy.process.pid, proxy.port, imaps)


def load(*words, stdin=None):
    done = subprocess.run([LOAD, *map(str, words)], stdout=subprocess.PIPE, text=True, input=stdin, check=True)
    count, seconds, octets = done.stdout.split()[-3:]
    return int(count), float(seconds), int(octets)


def measure(proxy, call):
    """What call returns, and the CPU seconds of the proxy meanwhile."""
    before = cpu_seconds(proxy.pid)
    result = call()
    return result, cpu_seconds(proxy.pid) - before


def fetch_tls(proxy, ca, rounds):
    """Octets and seconds of FETCHes over TLS to the proxy."""
    raw = socket.create_connection(("127.0.0.1", proxy.imaps))
    s = ssl.create_default_context(cafile=ca).wrap_socket(raw, server_hostname="localhost")
    space = bytearray(1 << 20)

    def until(tag):
        total, tail = 0, b""
        while tag not in tail:
            count = s.recv_into(space)
            if count == 0:
                raise RuntimeError("closed")
            total += count
            tail = (tail + bytes(space[max(0, count - 4096):count]))[-4096:]
        return total

    until(b"* OK")
    s.sendall(b"a LOGIN u0 secret\r\n")
    until(b"a OK")
    s.sendall(b"b SELECT INBOX\r\n")
    until(b"b OK")
    began, octets = time.monotonic(), 0
    for _ in range(rounds):
        s.sendall(b"c FETCH 1 BODY.PEEK[]\r\n")
        octets += until(b"\r\nc OK")
    seconds = time.monotonic() - began
    s.close()
    return octets, seconds


def idle_kib(proxy, ca):
    """KiB of the proxy for each idle connection, in clear and over TLS. The latter come while the former stay: nothing freed is used again."""
    figures, sockets = [], []
    context = ssl.create_default_context(cafile=ca)
    for tls in (False, True):
        before = memory_kib(proxy.pid)
        for i in range(options.idle):
            s = socket.create_connection(("127.0.0.1", proxy.imaps if tls else proxy.imap))
            if tls:
                s = context.wrap_socket(s, server_hostname="localhost")
            reader = s.makefile("rb", buffering=0)
            reader.readline()
            s.sendall(f"a LOGIN u{i % USERS} secret\r\n".encode())
            while not reader.readline().startswith(b"a OK"):
                pass
            s.sendall(b"b SELECT INBOX\r\nc IDLE\r\n")
            while not reader.readline().startswith(b"+"):
                pass
            sockets.append((s, reader))
        figures.append((memory_kib(proxy.pid) - before) / options.idle)
    for s, reader in sockets:
        reader.close()
        s.close()
    return figures


def main():
    become_nobody()
    if is_missing() or not os.path.exists("/usr/sbin/nginx"):
        sys.exit("needs dovecot with IMAP, and nginx")
    site = harness.Site()
    running = []
    try:
        place = os.path.join(site.dir, "poa")
        os.mkdir(place)
        poa = Dovecot(place, os.path.join(site.dir, "mail", "sales"))
        running.append(poa)
        poa.start()
        nginx, first = start_nginx(os.path.join(site.dir, "nginx"), poa.port, site)
        dovecot, second = start_dovecot_proxy(os.path.join(site.dir, "proxy"), poa.port, site)
        running.append(dovecot)
        office = f"cn=Sales,ou=mail,{site.suffix}"
        site.ldap("ldapadd", text=f"dn: cn=POA,{office}\nobjectClass: posternPostOfficeAgent\ncn: POA\nposternHost: 127.0.0.1\n"
                                  f"posternPort: {poa.port}\nposternTls: disabled\n\n")
        site.modify(office, posternAccessMode="clientServer")
        for i in range(USERS):
            site.add_user(f"u{i}")
        proxies = [Proxy("posternd", site.pid, site.imap, site.imaps), first, second]

        def relayed():
            client = site.imap_client("u0", login=False)
            try:
                client.login("u0", "secret")
                client.xatom("ID", "NIL")
                return b"Dovecot" in (client.response("ID")[1][0] or b"")
            except client.error:
                return False
            finally:
                client.shutdown()
        harness.poll(relayed, what="the POA")
        client = site.imap_client("u0")
        client.append("INBOX", None, None, b"Subject: x\r\n\r\n" + b"0123456789012345678901234567890123456789012345678901234567890123456789abcdef\r\n"
                      * (MESSAGE // 78))
        client.logout()
        print_table(proxies, site.env["POSTERN_CA_FILE"])
        nginx.terminate()
        nginx.wait(10)
    finally:
        for one in running:
            one.stop()
        site.close()


def print_table(proxies, ca):
    rounds = max(1, options.megabytes * 1_000_000 // MESSAGE)
    rows = {}

    def note(row, proxy, value):
        rows.setdefault(row, {}).setdefault(proxy.name, []).append(value)

    # before anything else: later the heap holds what was freed
    for proxy in proxies:
        clear, tls = idle_kib(proxy, ca)
        note("KiB per idle connection", proxy, clear)
        note("KiB per idle connection, TLS", proxy, tls)
    for _ in range(options.rounds):
        for proxy in proxies:
            (count, seconds, _), cpu = measure(proxy, lambda: load("login", "imap", proxy.imap, USERS, 16, 3))
            note("logins /s", proxy, count / seconds)
            note("logins /CPU s", proxy, count / max(cpu, 0.01))
            (count, seconds, octets), cpu = measure(proxy, lambda: load("imap", proxy.imap, "u0", rounds, "SELECT INBOX", "FETCH 1 BODY.PEEK[]",
                                                                       stdin="\n"))
            note("MB/s", proxy, octets / seconds / 1e6)
            note("CPU s per GB", proxy, cpu / octets * 1e9)
            (octets, seconds), cpu = measure(proxy, lambda: fetch_tls(proxy, ca, rounds))
            note("MB/s, TLS", proxy, octets / seconds / 1e6)
            note("CPU s per GB, TLS", proxy, cpu / octets * 1e9)
            (count, seconds, _), cpu = measure(proxy, lambda: load("imap", proxy.imap, "u0", 20000, "SELECT INBOX", "NOOP", stdin="\n"))
            note("round trips /s", proxy, count / seconds)
            note("round trips /CPU s", proxy, count / max(cpu, 0.01))
    print("| what | " + " | ".join(proxy.name for proxy in proxies) + " |\n|---|" + "---:|" * len(proxies))
    for row, values in rows.items():
        print(f"| {row} | " + " | ".join(f"{statistics.median(values[proxy.name]):,.2f}" for proxy in proxies) + " |")


main()
