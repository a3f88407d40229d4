#!/usr/bin/env python3
"""Many relayed sessions over many POAs: as many as descriptors allow, one half of them at one POA, which then dies and comes back. The POAs are one process that
listens on many loopback addresses (this file with --poas), and the sessions of a healthy POA are watched by another (--probe). Prints sizes, memory and what others
feel of it. --full: 100 POAs, 1,000 post offices with links, and sessions for all descriptors."""
import collections
import re
import resource
import selectors
import socket
import subprocess
import sys
import time
import unittest

from harness import FULL, Site, main, poll

POA_COUNT, OFFICES, SESSIONS = (100, 1000, 10_000) if FULL else (20, 60, 300)
STORM_SECONDS = 10 if FULL else 4
GREETING = b"* OK [CAPABILITY IMAP4rev1 SASL-IR ID IDLE AUTH=PLAIN] ready\r\n"
ANSWERS = {b"AUTHENTICATE": b"OK [CAPABILITY IMAP4rev1 ID IDLE] in\r\n", b"SELECT": b"OK done\r\n", b"NOOP": b"OK done\r\n", b"ID": b"OK done\r\n"}


def address_of(poa):
    return f"127.1.{poa // 200}.{poa % 200 + 1}"


def raise_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


# --- the POAs ------------------------------------------------------------------------------------------------------------------

class Poas:
    """Orders come by standard input: die ADDRESS, live ADDRESS, count ADDRESS; each is answered by a line."""

    def __init__(self, count):
        raise_limit()
        self.selector = selectors.DefaultSelector()
        self.dead, self.connects, self.open = set(), collections.Counter(), collections.defaultdict(set)
        port = 0
        for poa in range(count):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((address_of(poa), port))
            s.listen(4096)
            s.setblocking(False)
            port = s.getsockname()[1]
            self.selector.register(s, selectors.EVENT_READ, (self.accept, address_of(poa)))
        self.selector.register(sys.stdin, selectors.EVENT_READ, (self.obey, None))
        print(port, flush=True)

    def run(self):
        while True:
            for key, _ in self.selector.select():
                key.data[0](key.fileobj, key.data[1])

    def accept(self, listener, address):
        try:
            s = listener.accept()[0]
        except BlockingIOError:
            return
        self.connects[address] += 1
        if address in self.dead:
            s.close()
            return
        s.setblocking(False)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.send(GREETING)
        self.open[address].add(s)
        self.selector.register(s, selectors.EVENT_READ, (self.converse, address))

    def close(self, s, address):
        self.selector.unregister(s)
        self.open[address].discard(s)
        s.close()

    def converse(self, s, address):
        if s.fileno() < 0:
            return
        try:
            lines = s.recv(4096).splitlines()    # of clients that wait for answers: no line comes in pieces
            for line in lines:
                words = line.split(b" ")
                if words[1:] in ([b"IDLE"], [b"AUTHENTICATE", b"PLAIN"]):
                    s.send(b"+ \r\n")
                elif len(words) > 1:
                    s.send(words[0] + b" " + ANSWERS.get(words[1], b"BAD unknown\r\n"))
                elif line == b"*":    # the end of a probe
                    s.send(b"a BAD cancelled\r\n")
        except OSError:
            lines = []
        if not lines:
            self.close(s, address)

    def obey(self, stdin, _):
        words = stdin.readline().split()
        if not words:
            sys.exit(0)
        if words[0] == "die":
            self.dead.add(words[1])
            for s in list(self.open[words[1]]):
                self.close(s, words[1])
        elif words[0] == "live":
            self.dead.discard(words[1])
        print(self.connects[words[1]], flush=True)


# --- what others feel ----------------------------------------------------------------------------------------------------------

def probe(port, user):
    """NOOPs of one session and logins in turn, until standard input has something to say."""
    noops, logins = [], []

    def open_session():
        began = time.monotonic()
        s = socket.create_connection(("127.0.0.1", port), timeout=60)
        reader = s.makefile("rb")
        reader.readline()
        s.sendall(f"a LOGIN {user} secret\r\n".encode())
        line = reader.readline()
        if not line.startswith(b"a OK"):
            raise RuntimeError(line)
        return s, reader, time.monotonic() - began

    def ask(s, reader):
        began = time.monotonic()
        s.sendall(b"b NOOP\r\n")
        if not reader.readline().startswith(b"b OK"):
            raise RuntimeError("NOOP")
        return time.monotonic() - began
    held, held_reader, _ = open_session()
    print("ready", flush=True)
    selector = selectors.DefaultSelector()
    selector.register(sys.stdin, selectors.EVENT_READ)
    while not selector.select(0.01):
        noops.append(ask(held, held_reader))
        s, reader, seconds = open_session()
        logins.append(seconds)
        reader.close()
        s.close()
    print(" ".join(f"{sorted(times)[int((len(times) - 1) * part)]:.4f}" for times in (noops, logins) for part in (0.5, 0.99, 1)), len(noops), flush=True)


# --- the clients ---------------------------------------------------------------------------------------------------------------

class Client:
    def __init__(self, user):
        self.user, self.socket, self.state, self.again = user, None, "away", 0.0


class Crowd:
    """Clients that want to be in IDLE. Who loses the session comes back at once, and who is refused later."""

    def __init__(self, port, users):
        self.port, self.clients = port, [Client(user) for user in users]
        self.selector = selectors.DefaultSelector()
        self.states = collections.Counter(away=len(self.clients))
        self.lost, self.refused, self.said = collections.Counter(), 0, collections.Counter()

    def enter(self, client, state):
        self.states[client.state] -= 1
        self.states[state] += 1
        client.state = state

    def open(self, client):
        client.socket = socket.socket()
        client.socket.setblocking(False)
        client.socket.connect_ex(("127.0.0.1", self.port))
        self.selector.register(client.socket, selectors.EVENT_READ, client)
        self.enter(client, "greeting")

    def close(self, client, again):
        self.selector.unregister(client.socket)
        client.socket.close()
        client.again = time.monotonic() + again
        self.enter(client, "away")

    def news(self, client):
        try:
            said = client.socket.recv(65536)
        except OSError:
            said = b""
        if client.state == "greeting" and said.startswith(b"* OK"):
            client.socket.send(f"a LOGIN {client.user} secret\r\n".encode())
            self.enter(client, "login")
        elif client.state == "login" and said.startswith(b"a OK"):
            client.socket.send(b"b SELECT INBOX\r\n")
            self.enter(client, "select")
        elif client.state == "select" and said.startswith(b"b OK"):
            client.socket.send(b"c IDLE\r\n")
            self.enter(client, "wait")
        elif client.state == "wait" and said.startswith(b"+"):
            self.enter(client, "idle")
        elif client.state == "login" and said:
            self.refused += 1
            self.close(client, 1)
        else:
            if client.state == "idle":
                self.lost[client.user] += 1
                self.said[said.split(b"]")[0]] += 1
            self.close(client, 0)

    def run(self, until, seconds, at_once):
        """Until the condition is true, with no more than so many on their way."""
        end = time.monotonic() + seconds
        while not until():
            now = time.monotonic()
            if now > end:
                return False
            room = at_once - (len(self.clients) - self.states["away"] - self.states["idle"])
            if room > 0 and self.states["away"] > 0:
                for client in self.clients:
                    if client.state == "away" and client.again <= now:
                        self.open(client)
                        room -= 1
                        if room == 0:
                            break
            for key, _ in self.selector.select(0.05):
                self.news(key.data)
        return True

    def all_idle(self):
        return self.states["idle"] == len(self.clients)

    def end(self):
        for client in self.clients:
            if client.state != "away":
                client.socket.close()
        self.selector.close()


# --- the test ------------------------------------------------------------------------------------------------------------------

def memory(pid):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"RssAnon:\s+(\d+)", file.read()).group(1))


class Scale(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        hard = raise_limit()
        # two of the gateway's for each session, and what it keeps for mail files and the directory
        cls.sessions = min(SESSIONS, (hard - 1200) // 2)
        cls.site = Site()
        cls.addClassCleanup(cls.site.close)
        cls.poas = subprocess.Popen([sys.executable, __file__, "--poas", str(POA_COUNT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(cls.end, cls.poas)
        cls.port = int(cls.poas.stdout.readline())
        cls.load()

    @staticmethod
    def end(process):
        process.stdin.close()
        process.wait(60)
        process.stdout.close()

    @classmethod
    def load(cls):
        """Post office i is served by POA i % POA_COUNT; one user each."""
        mail, people, agent = f"ou=mail,{cls.site.suffix}", cls.site.env["POSTERN_PEOPLE_DN"], cls.site.agent_dn
        text = ""
        for i in range(OFFICES):
            office = f"cn=Office {i},{mail}"
            text += (f"dn: {office}\nobjectClass: posternPostOffice\ncn: Office {i}\nposternDomain: o{i}.example.org\nposternAccessMode: clientServer\n\n"
                     f"dn: cn=POA,{office}\nobjectClass: posternPostOfficeAgent\ncn: POA\nposternHost: {address_of(i % POA_COUNT)}\n"
                     f"posternPort: {cls.port}\nposternTls: disabled\nposternPoaTimeoutMilliseconds: 20000\nposternPoaLoginMilliseconds: 20000\n\n"
                     f"dn: cn=Link {i},{agent}\nobjectClass: posternPostOfficeLink\ncn: Link {i}\nposternPostOffice: {office}\n\n"
                     f"dn: uid=s{i},{people}\nobjectClass: inetOrgPerson\nobjectClass: posternMailUser\nuid: s{i}\ncn: s{i}\nsn: s{i}\n"
                     f"mail: s{i}@o{i}.example.org\nuserPassword: {cls.site.env['POSTERN_PASSWORD']}\nposternPostOffice: {office}\n\n")
        began = time.monotonic()
        cls.site.ldap("ldapadd", text=text)

        def is_there():
            client = cls.site.imap_client(f"s{OFFICES - 1}", login=False)
            try:
                client.login(f"s{OFFICES - 1}", "secret")
                return True
            except client.error:
                return False
            finally:
                client.shutdown()
        poll(is_there, seconds=120, what="the last post office")
        print(f"\nscale: {OFFICES} post offices with links, {POA_COUNT} POAs, {time.monotonic() - began:.1f} s to load", flush=True)

    def order(self, *words):
        self.poas.stdin.write(" ".join(words) + "\n")
        self.poas.stdin.flush()
        return int(self.poas.stdout.readline())

    def test_a_poa_that_dies(self):
        victim = address_of(0)
        at_victim = [f"s{i}" for i in range(0, OFFICES, POA_COUNT)]
        others = [f"s{i}" for i in range(OFFICES) if i % POA_COUNT != 0]
        half = self.sessions // 2
        crowd = Crowd(self.site.imap, [at_victim[i % len(at_victim)] for i in range(half)] + [others[i % len(others)] for i in range(self.sessions - half)])
        self.addCleanup(crowd.end)
        agent = self.site.agent_pid()
        before, began = memory(agent), time.monotonic()
        self.assertTrue(crowd.run(crowd.all_idle, 600, 48), crowd.states)
        print(f"\nscale: {self.sessions} relayed sessions in IDLE after {time.monotonic() - began:.1f} s; the agent's memory: {memory(agent) / 1024:.1f} MiB, "
              f"{(memory(agent) - before) / self.sessions:.2f} KiB for each", flush=True)
        self.assertEqual(crowd.lost.total(), 0)

        probe_process = subprocess.Popen([sys.executable, __file__, "--probe", str(self.site.imap), others[0]], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.end, probe_process)
        self.assertEqual(probe_process.stdout.readline(), "ready\n")
        first = self.order("die", victim)
        began = time.monotonic()
        crowd.run(lambda: crowd.lost.total() >= half, 60, len(crowd.clients))
        crowd.run(lambda: False, STORM_SECONDS, len(crowd.clients))
        storm = time.monotonic() - began
        connects = self.order("count", victim) - first
        refused, lost = crowd.refused, crowd.lost.total()
        self.order("live", victim)
        began = time.monotonic()
        self.assertTrue(crowd.run(crowd.all_idle, 120, len(crowd.clients)), crowd.states)
        back = time.monotonic() - began
        probe_process.stdin.write("\n")
        probe_process.stdin.flush()
        figures = probe_process.stdout.readline().split()
        print(f"scale: {lost} sessions lost with their POA, {refused} logins refused in {storm:.0f} s, {connects} connections to the dead POA; "
              f"all were back {back:.1f} s after it was", flush=True)
        print("latency beside it, p50 p99 most: NOOP {} {} {} s, login {} {} {} s; {} times".format(*figures), flush=True)
        self.assertEqual(lost, half)
        self.assertEqual([user for user in crowd.lost if user not in at_victim], [])
        self.assertEqual(dict(crowd.said), {b"* BYE [UNAVAILABLE": half})
        # each post office finds out for itself: those at work at the same time, and a probe now and then
        self.assertLessEqual(connects, len(at_victim) * (3 + storm) + 64)
        self.assertLess(max(map(float, figures[:6])), 30)


if "--poas" in sys.argv:
    Poas(int(sys.argv[-1])).run()
elif "--probe" in sys.argv:
    probe(int(sys.argv[-2]), sys.argv[-1])
else:
    main()
