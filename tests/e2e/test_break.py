#!/usr/bin/env python3
"""Post Office Agents that break under open sessions and under logins: a gate in front of a real Dovecot that closes, resets, hangs or speaks garbage in every
state, with the settings' defaults; another post office is used meanwhile, and its latencies are printed."""
import base64
import os
import socket
import ssl
import struct
import subprocess
import threading
import time
import unittest

from dovecot import become_nobody, beside, name_agent
from harness import FULL, main, poll

SERVED = 9       # seconds within which the first login while a POA hangs is served: 2 by default, on a machine that does nothing else; a session ends after 10
AT_ONCE = 0.8    # for those after it; a machine that is busy for a moment is asked again
BIG = 2_000_000


class Pair:
    """One connection through the gate."""

    def __init__(self, gate, client):
        self.gate, self.client, self.poa = gate, client, None
        self.hung = self.mute = self.is_reset = False
        self.down_left = None      # octets that still pass towards the client
        self.asked = b""           # what the client said last

    def run(self):
        if self.gate.context:
            self.client = self.gate.context.wrap_socket(self.client, server_side=True)
        self.poa = socket.create_connection(("127.0.0.1", self.gate.target))
        other = threading.Thread(target=self.copy, args=(self.poa, self.client, self.down), daemon=True)
        other.start()
        self.copy(self.client, self.poa, self.up)
        other.join()
        self.client.close()
        self.poa.close()

    def copy(self, source, sink, take):
        try:
            while data := source.recv(65536):
                sink.sendall(take(data))
            if not self.is_reset:
                sink.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def up(self, data):
        if b"AUTHENTICATE PLAIN " in data:
            self.gate.said = data[data.index(b"a AUTHENTICATE"):]
        self.asked = data
        if self.gate.hang_at and self.gate.hang_at in data:
            self.hung = True
        return b"" if self.hung else data

    def down(self, data):
        if self.hung or self.mute:
            return b""
        if b"a OK" in data:
            threading.Event().wait(self.gate.delay)    # it is as slow as that
        if self.gate.stall_at in data if self.gate.stall_at else False:
            self.down_left = data.index(self.gate.stall_at) + len(self.gate.stall_at) + 100
        if self.down_left is None:
            return data
        part = data[:self.down_left]
        self.down_left -= len(part)
        return part

    def close(self, reset=False):
        self.is_reset = reset
        for s in (self.client, self.poa):
            try:
                if reset:    # by the close after the threads in recv() have ended
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
            except (OSError, AttributeError):
                pass


class Gate:
    """What new connections meet is `mode`: pass, hang, close or garbage."""

    def __init__(self, target):
        self.target, self.mode, self.context = target, "pass", None
        self.hang_at = self.stall_at = None
        self.said = b""            # the last login
        self.delay = 0             # seconds that it takes to accept one
        self.pairs, self.connections = [], 0
        self.server = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            self.connections += 1
            pair = Pair(self, client)
            self.pairs.append(pair)
            threading.Thread(target=self.serve, args=(pair,), daemon=True).start()

    def serve(self, pair):
        try:
            if self.mode == "hang":
                while pair.client.recv(4096):
                    pass
            elif self.mode == "garbage":
                pair.client.sendall(b"\x00\xff\x80 nonsense\r\n" * 3)
                pair.client.recv(1)
            elif self.mode == "pass":
                pair.run()
                return
        except (OSError, ValueError):
            pass
        pair.client.close()

    def heal(self):
        self.mode, self.hang_at, self.stall_at = "pass", None, None

    def close(self):
        try:
            self.server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.server.close()
        for pair in self.pairs:
            pair.close()


class Client:
    """One session, spoken by hand."""

    def __init__(self, site, user, password="secret"):
        self.began = time.monotonic()
        self.socket, self.reader, _ = site.raw(site.imap)
        self.login = self.ask(b"l LOGIN %s %s\r\n" % (user.encode(), password.encode()))[-1]
        self.seconds = time.monotonic() - self.began

    def send(self, data):
        self.socket.sendall(data)

    def until(self, start):
        lines = []
        while not lines or not lines[-1].startswith(start):
            lines.append(self.reader.readline())
            if not lines[-1]:
                raise AssertionError(f"closed after {lines}")
        return lines

    def ask(self, command):
        self.send(command)
        return self.until(command.split()[0] + b" ")

    def is_relayed(self):
        return b"Dovecot" in b"".join(self.ask(b"i ID NIL\r\n"))

    def close(self):
        self.socket.close()


class Others:
    """Somebody in another post office, who is not to notice."""

    def __init__(self, site):
        self.site, self.times, self.over = site, {"command": [], "login": []}, False
        self.client = site.imap_client("researcher")
        self.client.select()
        self.thread = threading.Thread(target=self.work)

    def work(self):
        while not self.over:
            began = time.monotonic()
            self.client.uid("FETCH", "1:*", "(FLAGS)")
            middle = time.monotonic()
            Client(self.site, "researcher").close()
            self.times["command"].append(middle - began)
            self.times["login"].append(time.monotonic() - middle)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()
        self.client.logout()

    def worst(self, kind):
        times = sorted(self.times[kind])
        return times[min(len(times) - 1, len(times) * 99 // 100)]

    def __str__(self):
        return ", ".join(f"{kind} p50 {sorted(times)[len(times) // 2] * 1000:.0f} ms p99 {self.worst(kind) * 1000:.0f} ms of {len(times)}"
                         for kind, times in self.times.items())


class Break(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dovecot = beside(cls, masters=True, conf="auth_failure_delay = 2 secs\n")    # its default: a refusal takes as long as a POA that hangs may
        cls.site.add_user("researcher", office="Research")
        cls.site.add_user("other")
        for user in [f"user{n}" for n in range(8)]:
            cls.site.add_user(user)
        for user in ["alice", "other", "researcher"] + [f"user{n}" for n in range(8)]:
            client = cls.site.imap_client(user)
            client.append("INBOX", r"(\Seen)", None, b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * (BIG // 17 if user == "user0" else 10))
            client.logout()
        cls.site.modify(cls.site.user_dn("other"), userPassword="different")
        name_agent(cls, cls.dovecot)
        cls.site.modify(cls.office, posternAccessMode="clientServerAndDirect")

    @classmethod
    def goes_to_the_poa(cls, user="alice"):
        client = Client(cls.site, user)
        relayed = client.login.startswith(b"l OK") and client.is_relayed()
        client.close()
        return relayed

    def relayed_client(self):
        client = Client(self.site, "user0")
        if client.login.startswith(b"l OK") and client.is_relayed():
            return client
        client.close()
        return None

    def served_at_once(self):
        """The fastest of some logins: one that waits for the POA takes seconds each time."""
        fastest = None
        for _ in range(5):
            client = Client(self.site, "user2")
            self.assertTrue(client.login.startswith(b"l OK"), client.login)
            self.assertFalse(client.is_relayed())
            client.close()
            fastest = min(fastest or client.seconds, client.seconds)
            if fastest < AT_ONCE:
                return fastest
        raise AssertionError(f"the fastest login took {fastest:.2f} s")

    def compared(self, **settings):
        """Those settings, and POA and path found to show the same with them."""
        said = f"port {self.gate.port}) and path show the same mailboxes"
        before = self.site.log().count(said)
        self.site.modify(self.agent, **settings)
        poll(lambda: self.goes_to_the_poa() and self.site.log().count(said) > before, what="the comparison")

    def setUp(self):
        """A host that is named anew begins anew: what it did before counts for nothing."""
        self.gate = Gate(self.dovecot.port)
        self.addCleanup(self.gate.close)
        self.compared(posternPort=self.gate.port)

    def back(self):
        """To client/server by itself."""
        began = time.monotonic()
        self.gate.heal()
        poll(self.goes_to_the_poa, what="the way back")
        return time.monotonic() - began

    # --- open sessions, in every state
    marks = 0

    def pair_of(self, client):
        """Which of the gate's connections is this session's: probes and comparisons come and go."""
        Break.marks += 1
        mark = b"mark%d NOOP\r\n" % Break.marks
        client.ask(mark)
        found = [pair for pair in self.gate.pairs if pair.asked == mark]
        self.assertEqual(len(found), 1)
        return found[0]

    def prepare(self, state):
        """A session in that state, and its pair at the gate."""
        client = poll(self.relayed_client, what="a session through the POA")
        pair = self.pair_of(client)
        if state != "authenticated":
            client.ask(b"s SELECT INBOX\r\n")
        if state == "idle":
            client.send(b"b IDLE\r\n")
            client.until(b"+")
        elif state == "command":
            pair.mute = True
            client.send(b"b SEARCH ALL\r\n")
        elif state == "upload":
            client.send(b"b APPEND INBOX {1000}\r\n")
            client.until(b"+")
            client.send(b"x" * 100)
        elif state == "download":
            self.gate.stall_at = b"BODY[] {"
            client.send(b"b FETCH 1 BODY.PEEK[]\r\n")
            client.until(b"* 1 FETCH")
            client.reader.readline()
            self.gate.stall_at = None
        return client, pair

    def check_end(self, client, state):
        rest = client.reader.read()
        client.close()
        if state == "download":
            self.assertNotIn(b"BYE", rest)    # within a literal it would be mail
            self.assertLess(len(rest), BIG)
        else:
            self.assertEqual(rest[:19], b"* BYE [UNAVAILABLE]", state)
            self.assertEqual(rest.count(b"\r\n"), 1, state)

    def test_open_sessions(self):
        for state in ("authenticated", "selected", "idle", "command", "upload", "download"):
            for deed in ("close", "reset", "garbage"):
                if (state, deed) == ("download", "garbage"):
                    continue    # within a literal it is mail
                with self.subTest(state=state, deed=deed):
                    client, pair = self.prepare(state)
                    if deed == "garbage":
                        pair.client.sendall(b"\x00\xff\x80 nonsense {999999999999}\r\n")
                    else:
                        pair.close(deed == "reset")
                    if state != "authenticated":
                        self.check_end(client, state)
                        continue
                    client.until(b"* CAPABILITY")
                    self.assertIn(b"MESSAGES 1 UIDNEXT 2", b"".join(client.ask(b"a STATUS INBOX (MESSAGES UIDNEXT)\r\n")))
                    self.assertFalse(client.is_relayed())
                    client.close()
        client = Client(self.site, "user0")
        self.assertEqual(len(client.ask(b"a EXAMINE INBOX\r\nb FETCH 1:* FLAGS\r\n")) > 1, True)
        client.close()

    def test_hangs_under_sessions(self):
        """All of them at once; who waits for an answer hears the end, and nobody else does."""
        sessions = {state: self.prepare(state) for state in ("authenticated", "selected", "idle", "command", "upload", "download")}
        silent, silent_pair = self.prepare("selected")
        before = self.gate.connections
        with Others(self.site) as others:
            self.gate.mode = "hang"
            for pair in [silent_pair] + [pair for _, pair in sessions.values()]:
                pair.hung = True
            began = time.monotonic()
            for state, words in (("authenticated", b"n NOOP\r\n"), ("selected", b"n NOOP\r\n"), ("idle", b"DONE\r\n"), ("upload", b"x" * 900 + b"\r\n")):
                sessions[state][0].send(words)
            first = Client(self.site, "user1")
            self.assertLess(first.seconds, SERVED)
            self.assertFalse(first.is_relayed())
            second = self.served_at_once()
            for state, (client, _) in sessions.items():
                self.check_end(client, state)
            took = time.monotonic() - began
        self.assertGreater(took, 9)
        self.assertLess(took, 60)
        print(f"time: a login while the POA hangs {first.seconds:.2f} s, the next {second:.2f} s; sessions that wait end after {took:.1f} s; "
              f"{self.gate.connections - before} connections to the POA meanwhile")
        print(f"latency: others meanwhile: {others}")
        self.assertLess(others.worst("command"), 2)
        self.assertLess(self.gate.connections - before, 12 + took)    # probes
        silent.socket.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            silent.socket.recv(1)
        silent.close()
        print(f"time: client/server again after {self.back():.1f} s")

    # --- logins
    def check_login(self, what, back=True):
        first = Client(self.site, "user1")
        self.assertTrue(first.login.startswith(b"l OK"), (what, first.login))
        self.assertFalse(first.is_relayed(), what)
        first.close()
        self.assertLess(first.seconds, SERVED, what)
        self.served_at_once()
        if back:
            self.back()
        return first.seconds

    def test_hangs_at_the_login(self):
        self.gate.hang_at = b"AUTHENTICATE"
        print(f"time: first login while the POA hangs at the login: {self.check_login('login'):.2f} s")

    def take_credentials(self, first, then, mode):
        """Seconds of logins at a POA that is well until it has a user's credentials; its front answers all the while, as a probe hears."""
        self.gate.hang_at = b"AUTHENTICATE PLAIN "
        clients = [Client(self.site, user) for user in (first, *then)]
        for client in clients:
            self.assertTrue(client.login.startswith(b"l OK"), client.login)
            self.assertFalse(client.is_relayed())
            client.close()
        print(f"time: logins while the POA hangs with {mode}: {', '.join(f'{client.seconds:.2f}' for client in clients)} s")
        return [client.seconds for client in clients]

    def test_hangs_with_a_password_that_it_knows(self):
        """It has accepted it a moment ago, and would again: silence is no slow refusal."""
        first, *others = self.take_credentials("alice", ("user1", "user2"), "a password that it accepted")
        self.assertLess(first, SERVED)
        self.assertLess(max(others), AT_ONCE)
        self.back()

    @unittest.skipUnless(FULL, "takes five seconds: --full")
    def test_accepts_slowly(self):
        """One that takes its time when it is well is given it."""
        for self.gate.delay in (1.2, 2.6):
            client = Client(self.site, "alice")
            self.assertTrue(client.is_relayed())
            self.assertGreater(client.seconds, self.gate.delay)
            client.close()

    def test_hangs_with_passwords_that_it_does_not_know(self):
        """Each may be refused slowly; not all of them, with no answer at all."""
        self.gate.hang_at, found = b"AUTHENTICATE PLAIN ", []
        threads = [threading.Thread(target=lambda n=n: found.append(Client(self.site, f"user{n}"))) for n in (3, 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for client in found:
            self.assertTrue(client.login.startswith(b"l OK") and not client.is_relayed(), client.login)
            client.close()
        seconds = max(client.seconds for client in found)
        print(f"time: the first logins of two users while the POA hangs with their passwords: {seconds:.2f} s")
        self.assertLess(seconds, 4)

    def test_hangs_with_the_gateways_credentials(self):
        """They are no user's: silence is no refusal of his password."""
        with open(os.path.join(self.site.dir, "credentials", "break"), "w") as file:
            file.write("gate\nopen sesame\n")
        self.site.modify(self.agent, posternPoaLogin="masterUser", posternPoaCredentials="break")
        try:
            poll(lambda: self.goes_to_the_poa() and b"*gate\0open sesame" in base64.b64decode(self.gate.said.split()[3]), what="the edit")
            first, second, third = self.take_credentials("user5", ("user6", "user7"), "credentials of the gateway")
            self.assertLess(first, SERVED)
            self.assertLess(second, SERVED)    # the first one's trouble may have been his own
            self.assertLess(third, AT_ONCE)
        finally:
            self.site.modify(self.agent, posternPoaLogin=None, posternPoaCredentials=None)

    def test_does_not_accept(self):
        """The kernel of the host drops what comes: no connection, and no refusal."""
        with socket.socket() as dead:
            dead.bind(("127.0.0.1", 0))
            dead.listen(0)
            fill = [socket.socket() for _ in range(3)]
            for s in fill:
                s.setblocking(False)
                s.connect_ex(dead.getsockname())
            try:
                self.site.modify(self.agent, posternPort=dead.getsockname()[1])
                poll(lambda: not self.goes_to_the_poa("user3") and "did not come in time" in self.site.log(), what="the dead port")
            finally:
                self.site.modify(self.agent, posternPort=self.gate.port)
                for s in fill:
                    s.close()
        poll(self.goes_to_the_poa, what="the way back")

    def test_tls(self):
        base = os.path.join(self.site.dir, "tls", "poa-break")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", base + ".key",
                        "-out", base + ".pem", "-subj", "/CN=poa", "-addext", "subjectAltName=DNS:localhost"], check=True, stderr=subprocess.DEVNULL)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(base + ".pem", base + ".key")
        self.gate.context = context
        try:
            self.compared(posternTls="implicit", posternTlsCaFile="poa-break.pem", posternHost="localhost")
            for mode in ("hang", "garbage"):
                with self.subTest(mode=mode):
                    self.gate.mode = mode
                    self.check_login(f"TLS: {mode}")
            client, pair = self.prepare("selected")
            pair.close(True)
            self.check_end(client, "selected")
        finally:
            self.gate.context = None
            self.site.modify(self.agent, posternTls="disabled", posternTlsCaFile=None, posternHost="127.0.0.1")

    def test_wrong_password_is_refused_slowly(self):
        """It takes longer than a POA that hangs may take, and is no failed access."""
        before = self.gate.connections
        refused = Client(self.site, "other", "different")
        self.assertTrue(refused.login.startswith(b"l NO [AUTHENTICATIONFAILED]"), refused.login)
        self.assertGreater(refused.seconds, 1.9)
        self.assertLessEqual(self.gate.connections - before, 5)    # itself, and probes
        self.assertTrue(self.goes_to_the_poa())
        self.assertEqual(self.site.log().count("other is served directly"), 0)

    # --- a POA that comes and goes
    def test_flapping(self):
        seconds, failures, over, before = [], [], threading.Event(), self.gate.connections

        def log_in(user):
            while not over.is_set():
                client = Client(self.site, user)
                seconds.append(client.seconds)
                if not client.login.startswith(b"l OK"):
                    failures.append(client.login)
                client.close()

        threads = [threading.Thread(target=log_in, args=(f"user{n}",)) for n in range(1, 5)]
        with Others(self.site) as others:
            for thread in threads:
                thread.start()
            opened = 0
            for turn in range(10):
                self.gate.mode = "close" if turn % 2 else "pass"
                threading.Event().wait(0.2)
            self.gate.mode = "close"
            poll(lambda: not self.goes_to_the_poa(), what="direct access")
            opened = self.gate.connections
            at_close = len(seconds)
            poll(lambda: len(seconds) > at_close + 40, what="more logins")
            asked = self.gate.connections - opened
            over.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])
        self.assertLess(asked, 20)    # probes, and who was under way
        print(f"time: flapping: {len(seconds)} logins, the slowest {max(seconds):.2f} s, {opened - before} connections to the POA; {asked} while it was away for 40 more")
        print(f"latency: others meanwhile: {others}")
        self.assertLess(others.worst("command"), 2)
        print(f"time: client/server again after {self.back():.1f} s")


if __name__ == "__main__":
    become_nobody()
    main()
