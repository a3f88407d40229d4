#!/usr/bin/env python3
"""Post Office Agents that are well and that are not: a real Dovecot behind a gate that refuses, hangs, closes, speaks garbage or shows a wrong certificate
in each state before and during the login; several hosts; the gateway's own credentials; the comparison of POA and path."""
import base64
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import unittest

from dovecot import become_nobody, beside, name_agent
from harness import free_port, main, poll

CAPABILITY = b"CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN LITERAL+"
# what the gate does instead of passing on: (state, what)
STATES = ("greeting", "capability", "login")
DEEDS = ("hang", "close", "garbage", "flood", "bye")
LONG = 20000     # milliseconds that the POA has where none is to be away: a machine that is busy for some seconds does not make it so


class Gate:
    """Passes connections on to Dovecot while `mode` is "pass"; else it plays a POA itself up to the state that it spoils."""

    def __init__(self, target, address="127.0.0.1", context=None):
        self.target, self.mode, self.context = target, "pass", context
        self.lines, self.connections, self.open = [], 0, set()
        self.port = free_port()
        self.server = socket.create_server((address, self.port))
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.open.add(client)
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            if self.context:
                client = self.context.wrap_socket(client, server_side=True)
            if self.mode == "pass":
                self.relay(client)
            else:
                self.play(client, *self.mode)
        except (OSError, ValueError):
            pass
        finally:
            client.close()

    def relay(self, client):
        with socket.create_connection(("127.0.0.1", self.target)) as poa:
            threading.Thread(target=self.copy, args=(poa, client, None), daemon=True).start()
            self.copy(client, poa, self.lines)

    @staticmethod
    def copy(source, sink, lines):
        try:
            while data := source.recv(65536):
                if lines is not None and len(lines) < 1000:
                    lines.append(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def spoil(self, client, deed):
        if deed == "hang":
            client.settimeout(60)
            while client.recv(4096):
                pass
        elif deed == "garbage":
            client.sendall(b"\x00\xff\x80 nonsense {99999999999}\r\n" * 3)
        elif deed == "flood":
            for _ in range(100):
                client.sendall(b"* " + b"x" * 4000)
        elif deed == "bye":
            client.sendall(b"* BYE I am leaving\r\n")
        elif deed.startswith("NO") or deed.startswith("BAD"):
            client.sendall(b"a " + deed.encode() + b"\r\n")
            client.recv(4096)

    def play(self, client, state, deed):
        reader = client.makefile("rb")
        if state == "greeting":
            return self.spoil(client, deed)
        client.sendall(b"* OK hello\r\n" if state == "capability" else b"* OK [" + CAPABILITY + b"] hello\r\n")
        while line := reader.readline():
            if line.startswith(b"c ") and state == "capability":
                return self.spoil(client, deed)
            if line.startswith(b"i "):
                client.sendall(b"* ID NIL\r\ni OK\r\n")
            if line.startswith(b"a "):
                return self.spoil(client, deed)
            if line.startswith(b"l "):
                client.sendall(b"* BYE\r\nl OK\r\n")

    def close(self):
        try:
            self.server.shutdown(socket.SHUT_RDWR)    # or the thread in accept() keeps it open
        except OSError:
            pass
        self.server.close()
        with self.lock:
            for client in self.open:
                try:
                    client.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


class Poa(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.proxy_port = free_port()
        conf = (f"auth_mechanisms = plain oauthbearer\npassdb {{\n driver = oauth2\n mechanisms = oauthbearer\n args = PLACE/oauth2\n}}\n"
                f"haproxy_trusted_networks = 127.0.0.0/8\nservice imap-login {{\n inet_listener imap_proxied {{\n  port = {cls.proxy_port}\n  haproxy = yes\n }}\n}}\n")
        cls.dovecot = beside(cls, masters=True, conf=conf, files={
            "oauth2": "introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix=PLACE/keys/\nusername_attribute = sub\nscope = mail\n"})
        cls.token_keys = os.path.join(os.path.dirname(cls.dovecot.conf), "keys", "default", "RS256", "default")
        os.makedirs(os.path.dirname(cls.token_keys))
        for user in ["alice"] + [f"user{n}" for n in range(16)]:
            if user != "alice":
                cls.site.add_user(user)
            client = cls.site.imap_client(user)
            client.select()
            client.append("INBOX", r"(\Seen)", None, b"Subject: x\r\n\r\nx\r\n")
            client.logout()
        name_agent(cls, cls.dovecot)
        cls.site.modify(cls.office, posternAccessMode="clientServerAndDirect")
        cls.gates = []
        cls.addClassCleanup(lambda: [gate.close() for gate in cls.gates])

    def relayed(self, user="alice"):
        client = self.site.imap_client(user)
        client.xatom("ID", "NIL")
        poa = b"Dovecot" in (client.response("ID")[1][0] or b"")
        client.logout()
        return poa

    def refused(self, user="alice"):
        """What a login hears that is not let in, without its tag."""
        s, reader, _ = self.site.raw(self.site.imap)
        s.sendall(f"a LOGIN {user} {self.site.env['POSTERN_PASSWORD']}\r\n".encode())
        line = reader.readline()
        s.close()
        return line[2:]

    def compared(self, port):
        return len(re.findall(rf"POA \(\S+ port {port}\) and path (?:do not )?show the same", self.site.log()))

    def gate(self, address="127.0.0.1", context=None, compare=True, **settings):
        """A new gate that the Post Office Agent names from now on, found to show what the path shows."""
        gate = Gate(self.dovecot.port, address, context)
        self.gates.append(gate)
        before = self.compared(gate.port)
        self.site.modify(self.agent, **{"posternHost": "127.0.0.1", "posternPort": gate.port, "posternTls": "disabled", "posternPoaLogin": None,
                                        "posternTlsCaFile": None, "posternPoaCredentials": None, "posternPoaProxyHeader": None,
                                        "posternPoaTimeoutMilliseconds": LONG, "posternPoaLoginMilliseconds": LONG, **settings})
        if compare:
            poll(lambda: self.relayed() and gate.connections > 0, what="a login through the gate")
            poll(lambda: self.compared(gate.port) > before, what="the comparison")
        return gate

    def timed(self, user="alice"):
        began = time.monotonic()
        poa = self.relayed(user)
        return poa, time.monotonic() - began

    def fastest(self, login, enough):
        """Of some direct logins: one that waits for the POA takes long each time, one on a busy machine now and then."""
        fastest = 100
        for _ in range(5):
            poa, seconds = login()
            self.assertFalse(poa)
            fastest = min(fastest, seconds)
            if fastest < enough:
                break
        return fastest

    # --- what can go wrong
    def check_away(self, gate, mode, back):
        gate.mode = mode
        poa, seconds = self.timed()
        self.assertFalse(poa, mode)
        self.assertLess(seconds, 10, mode)
        self.assertLess(self.fastest(lambda: self.timed("user1"), 0.6), 0.6, mode)    # it is known to be away
        if back:
            gate.mode = "pass"
            poll(self.relayed, what=f"the way back after {mode}")

    def test_spoiled_in_each_state(self):
        for state in STATES:
            for deed in DEEDS:
                with self.subTest(state=state, deed=deed):
                    gate = self.gate(posternPoaTimeoutMilliseconds=700, posternPoaLoginMilliseconds=700)
                    self.check_away(gate, (state, deed), deed == "hang")

    def test_refuses_connections(self):
        def first_login():
            self.gate().close()
            return self.timed()
        self.assertLess(self.fastest(first_login, 1), 1)

    def test_answers_to_the_login(self):
        gate = self.gate()
        for deed, direct in (("NO [UNAVAILABLE] later", True), ("NO [INUSE] later", True), ("BAD what", True)):
            gate.mode = ("login", deed)
            self.assertFalse(self.relayed("user2"), deed)
            gate.mode = "pass"
            poll(self.relayed, what="the way back")
        # the user's own password: no fallback, and nobody else is concerned
        gate.mode = ("login", "NO [AUTHENTICATIONFAILED] no")
        self.assertTrue(self.refused("user3").startswith(b"NO [AUTHENTICATIONFAILED]"))
        gate.mode = "pass"
        self.assertTrue(self.relayed())

    def test_storm(self):
        gate = self.gate(posternPoaTimeoutMilliseconds=2000)
        gate.mode = ("greeting", "hang")
        found, began = [], time.monotonic()
        threads = [threading.Thread(target=lambda n=n: found.append(self.relayed(f"user{n}"))) for n in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(found, [False] * 16)
        self.assertLess(time.monotonic() - began, 16)    # together, not one after the other: that would be 32
        asked = gate.connections
        began = time.monotonic()
        for n in range(16):
            self.assertFalse(self.relayed(f"user{n}"))
        self.assertLess(time.monotonic() - began, 16)
        self.assertLess(gate.connections - asked, 10)    # probes

    def test_client_server_only(self):
        gate = self.gate()
        self.site.modify(self.office, posternAccessMode="clientServer")
        try:
            gate.mode = ("greeting", "close")
            poll(lambda: self.refused().startswith(b"NO [UNAVAILABLE]"), what="a temporary failure")
            self.assertTrue(self.refused("user1").startswith(b"NO [UNAVAILABLE]"))
            gate.mode = "pass"
            poll(lambda: b"OK" in self.refused()[:3] and self.relayed(), what="the way back")
        finally:
            self.site.modify(self.office, posternAccessMode="clientServerAndDirect")

    def test_second_host(self):
        gate = self.gate("127.0.0.2", compare=False, posternHost=["127.0.0.1", "127.0.0.2"])
        poll(lambda: self.relayed() and gate.connections > 0, what="a login through the second host")
        for n in range(5):
            self.assertTrue(self.relayed(f"user{n}"))

    def test_sessions_move_if_asked(self):
        link = f"cn=Sales link,{self.site.agent_dn}"
        self.gate()
        stays = self.site.imap_client("user5")
        self.gate()
        self.assertEqual(stays.noop()[0], "OK")
        self.site.modify(link, posternMoveSessions="TRUE")
        try:
            self.gate()    # the attribute is known by now
            s, reader, _ = self.site.raw(self.site.imap)
            s.sendall(f"a LOGIN user6 {self.site.env['POSTERN_PASSWORD']}\r\n".encode())
            self.assertTrue(reader.readline().startswith(b"a OK"))
            self.gate()
            self.assertTrue(reader.readline().startswith(b"* BYE"))
            s.close()
        finally:
            self.site.modify(link, posternMoveSessions=None)
        stays.logout()

    # --- TLS
    def context(self, name, *more):
        """A certificate for `name` by an authority of its own in the TLS directory."""
        base = os.path.join(self.site.dir, "tls", f"poa-{name}")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", base + ".key",
                        "-out", base + ".pem", "-subj", "/CN=poa", "-addext", f"subjectAltName={name}"], check=True, stderr=subprocess.DEVNULL)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(base + ".pem", base + ".key")
        return context, os.path.basename(base + ".pem")

    def test_tls(self):
        good, ca = self.context("DNS:localhost")
        gate = self.gate(context=good, posternTls="implicit", posternTlsCaFile=ca, posternHost="localhost")
        self.assertTrue(self.relayed())
        wrong, _ = self.context("DNS:elsewhere")
        gate.context = wrong
        poa, seconds = self.timed()
        self.assertFalse(poa)
        self.assertIn("certificate is not accepted", self.site.log())
        gate.context = good
        poll(self.relayed, what="the way back")

    def test_certificate_of_another_host(self):
        context, ca = self.context("DNS:other.example")
        gate = self.gate(compare=False, context=context, posternTls="implicit", posternTlsCaFile=ca, posternHost="localhost")
        poll(lambda: self.refused().startswith(b"NO [UNAVAILABLE]") and gate.connections > 0, what="a refusal")
        self.assertIn("mismatch", self.site.log())
        self.assertFalse([line for line in gate.lines if b"LOGIN" in line or b"AUTHENTICATE" in line])

    def test_tls_is_required(self):
        gate = self.gate(compare=False, posternTls="required")
        poll(lambda: self.refused().startswith(b"NO [UNAVAILABLE]") and gate.connections > 0, what="a refusal")
        self.assertFalse([line for line in gate.lines if b"LOGIN" in line or b"AUTHENTICATE" in line])

    # --- the gateway's own credentials
    def test_credentials(self):
        with open(os.path.join(self.site.dir, "credentials", "poa"), "w") as file:
            file.write("gate\nopen sesame\n")
        gate = self.gate(posternPoaLogin="authorization", posternPoaCredentials="poa")
        sent = b"".join(gate.lines)
        message = base64.b64decode(re.search(rb"AUTHENTICATE PLAIN (\S+)", sent).group(1))
        self.assertEqual(message, b"alice\0gate\0open sesame")
        self.assertIn(b'"x-originating-ip" "127.0.0.1"', sent)
        self.assertIn(b'"x-connected-port" "%d"' % self.site.imap, sent)
        gate = self.gate(posternPoaLogin="masterUser", posternPoaCredentials="poa")
        message = base64.b64decode(re.search(rb"AUTHENTICATE PLAIN (\S+)", b"".join(gate.lines)).group(1))
        self.assertEqual(message, b"\0alice*gate\0open sesame")
        # refused: a failed access, and a fault in the log; the user is served directly
        with open(os.path.join(self.site.dir, "credentials", "poa"), "w") as file:
            file.write("gate\nwrong\n")
        poll(lambda: not self.relayed("user4"), what="refused credentials")
        self.assertIn("credentials of the gateway are refused", self.site.log())

    # --- the user's own bearer token
    def token(self, key, **claims):
        encode = lambda part: base64.urlsafe_b64encode(part).rstrip(b"=").decode()
        text = encode(b'{"alg":"RS256","typ":"JWT"}') + "." + encode(json.dumps({"iss": "https://id.example.org", "aud": "postern", "exp": int(time.time()) + 600,
                                                                                 "iat": int(time.time()) - 5, "sub": "alice", "scope": "mail", **claims}).encode())
        signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=text.encode(), stdout=subprocess.PIPE, check=True).stdout
        return f"{text}.{encode(signed)}"

    def bearer(self, token):
        """The POA that the session is at, or the answer."""
        s, reader, _ = self.site.raw(self.site.imap)
        s.sendall(b"a AUTHENTICATE OAUTHBEARER " + base64.b64encode(f"n,,\1auth=Bearer {token}\1\1".encode()) + b"\r\ni ID NIL\r\nl LOGOUT\r\n")
        rest = reader.read()
        s.close()
        return "Dovecot" if b'"Dovecot"' in rest else rest.decode()

    def test_token(self):
        key = os.path.join(self.site.dir, "token.key")
        subprocess.run(f"openssl genrsa -out {key} 2048 && openssl rsa -in {key} -pubout -out {self.site.dir}/tls/token.pub", shell=True, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shutil.copy(f"{self.site.dir}/tls/token.pub", self.token_keys)
        self.site.set_agent(posternTokenKey="token.pub", posternTokenIssuer="https://id.example.org", posternTokenAudience="postern")
        gate = self.gate()
        try:
            poll(lambda: self.bearer(self.token(key)) == "Dovecot", what="a login by a token")
            self.assertIn(b"AUTHENTICATE OAUTHBEARER ", b"".join(gate.lines))
            # one that the POA does not take is no failed access: no fallback
            self.assertIn("NO [AUTHENTICATIONFAILED]", self.bearer(self.token(key, scope="else")))
            self.assertIn("the POA refuses the login", self.site.log())
            self.assertTrue(self.relayed("user4"))
        finally:
            self.site.set_agent(posternTokenKey=None, posternTokenIssuer=None, posternTokenAudience=None)

    # --- the client's address
    def test_proxy_header(self):
        self.gate(compare=False, posternPort=self.proxy_port)
        # it closes what does not begin with the header
        poll(lambda: self.refused("user7").startswith(b"NO [UNAVAILABLE]"), what="a failed access")
        self.site.modify(self.agent, posternPoaProxyHeader="TRUE")
        try:
            poll(lambda: self.refused().startswith(b"OK") and self.relayed(), what="a login with the header")
            with socket.create_connection(("127.0.0.1", self.site.imap), 30, ("127.0.0.77", 0)) as s:
                reader = s.makefile("rb")
                reader.readline()
                s.sendall(f"a LOGIN user8 {self.site.env['POSTERN_PASSWORD']}\r\n".encode())
                self.assertTrue(reader.readline().startswith(b"a OK"))
            poll(lambda: re.search("user=<user8>.*rip=127.0.0.77", self.dovecot.log()), what="the client's address in Dovecot's log")
        finally:
            self.site.modify(self.agent, posternPoaProxyHeader=None)

    # --- the comparison
    def test_difference(self):
        self.site.modify(self.office, posternSeparator="/")
        try:
            gate = self.gate()
            self.assertIn("separator", [line for line in self.site.log().splitlines() if "do not show the same" in line][-1])
            gate.mode = ("greeting", "close")
            self.assertTrue(self.refused().startswith(b"NO [UNAVAILABLE]"))
            gate.mode = "pass"
            poll(lambda: self.refused().startswith(b"OK"), what="the way back")
        finally:
            self.site.modify(self.office, posternSeparator=None)


if __name__ == "__main__":
    become_nobody()
    main()
