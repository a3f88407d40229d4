#!/usr/bin/env python3
"""Delivery to a post office through a real Dovecot's LMTP, with a gate in between that cuts, swallows replies and ends the gateway's agent at the worst moment; with TLS.
Wanted each time: one copy of each message, no more and no less."""
import base64
import os
import re
import smtplib
import socket
import ssl
import subprocess
import threading
import unittest

from dovecot import Dovecot, become_nobody, is_missing, lmtp
from harness import FULL, Site, free_port, kill, main, poll


class Gate:
    """Passes LMTP on. mode, for one message: "cut": breaks off in the middle of it; "swallow": closes both sides when the reply after it has come; "end": calls `at_end`
    then, and passes nothing on; "withhold": calls `at_end` when the message is whole, and Dovecot gets none of it; "freeze": it gets the end of it only when `thaw` is set, whoever waits."""

    def __init__(self, target):
        self.target, self.mode, self.at_end = target, "pass", None
        self.connections, self.events, self.thaw = 0, [], threading.Event()
        self.open = []
        self.lock = threading.Lock()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)    # the kernel keeps little of what is cut
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            with self.lock:
                self.open += [client, server]
            seen = bytearray()
            threading.Thread(target=self.copy, args=(client, server, seen, self.to_server), daemon=True).start()
            threading.Thread(target=self.copy, args=(server, client, seen, self.to_client), daemon=True).start()

    def copy(self, source, sink, seen, take):
        try:
            while data := source.recv(65536):
                data = take(data, seen)
                if data is None:
                    break
                sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def happen(self, what):
        self.events.append(what)
        mode, self.mode = self.mode, "pass"
        if mode in ("end", "withhold"):
            self.at_end()

    def to_server(self, data, seen):
        seen += data
        begun = re.search(rb"BDAT (\d+) LAST\r\n", seen)
        if self.mode == "cut" and begun and len(seen) > begun.end() + 100_000:
            self.happen("cut")
            return None
        if self.mode == "withhold" and begun:
            if len(seen) < begun.end() + int(begun.group(1)):
                return data[:0]
            self.happen("withheld")
            return None
        if self.mode == "freeze" and begun and len(seen) >= begun.end() + int(begun.group(1)):
            self.happen("frozen")
            self.thaw.wait(300)
        return data

    def to_client(self, data, seen):
        if b"Saved" in data:
            seen.clear()
            if self.mode in ("swallow", "end"):
                self.happen("swallowed")
                return None
        return data

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        with self.lock:
            for s in self.open:
                s.close()


class Small:
    """A server that takes everything, in plain commands. context: TLS from the first byte. login: what AUTH PLAIN has to bring first."""

    def __init__(self, context=None, login=None):
        self.context, self.login, self.seen = context, login, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
                if self.context:
                    s = self.context.wrap_socket(s, server_side=True)
            except ssl.SSLError as error:
                self.seen.append(str(error))
                continue
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        with s, s.makefile("rb") as reader:
            s.sendall(b"220 small LMTP\r\n")
            data, known = False, self.login is None
            for line in reader:
                if data and line != b".\r\n":
                    continue
                data = known and line == b"DATA\r\n"
                self.seen.append(line)
                if line.startswith(b"LHLO") and self.login:
                    s.sendall(b"250-small\r\n250 AUTH CRAM-MD5 PLAIN\r\n")
                elif line.startswith(b"AUTH PLAIN "):
                    known = base64.b64decode(line.split()[2]) == self.login
                    s.sendall(b"235 2.7.0 welcome\r\n" if known else b"535 5.7.8 no\r\n")
                else:
                    s.sendall(b"530 5.7.0 who are you?\r\n" if not known else b"354 go\r\n" if data else b"250 ok\r\n")

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Lmtp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if is_missing() or not os.path.exists("/usr/lib/dovecot/lmtp"):
            raise unittest.SkipTest("no Dovecot with IMAP and LMTP")
        site = cls.site = Site()
        cls.addClassCleanup(site.close)
        place = os.path.join(site.dir, "dovecot")
        os.mkdir(place)
        cls.certificate("right", "DNS:localhost")
        cls.certificate("other", "DNS:elsewhere")
        cls.lmtp, cls.lmtps, cls.lmtp_proxied = free_port(), free_port(), free_port()
        cls.dovecot = Dovecot(place, os.path.join(site.dir, "mail", "sales"),
                              more=lmtp(cls.lmtp, cls.lmtps, os.path.join(site.dir, "tls", "right.pem")))
        with open(os.path.join(place, "masters"), "w") as file:
            file.write("gate:{PLAIN}open sesame\n")
        with open(os.path.join(place, "users"), "w") as file:
            file.write("".join(f"{user}::{os.geteuid()}:{os.getegid()}::{site.dir}/mail/sales/{user}\n" for user in ("alice", "bob", "broken")))
        with open(cls.dovecot.conf) as file:
            conf = re.sub(r"userdb {[^}]*}", f"userdb {{\n driver = passwd-file\n args = {place}/users\n}}", file.read())
        with open(cls.dovecot.conf, "w") as file:
            file.write(conf)
            file.write(f"auth_master_user_separator = *\npassdb {{\n driver = passwd-file\n master = yes\n args = {place}/masters\n}}\n")
            file.write(f"haproxy_trusted_networks = 127.0.0.0/8\nservice lmtp {{\n inet_listener lmtp_proxied {{\n  port = {cls.lmtp_proxied}\n  haproxy = yes\n }}\n}}\n"
                       'mail_log_prefix = "%s(%u) rip=%r session=%{session}: "\n')
        with open(os.path.join(site.dir, "credentials", "poa"), "w") as file:
            file.write("gate\nopen sesame\n")
        cls.addClassCleanup(cls.dovecot.stop)
        cls.dovecot.start()
        cls.office = f"cn=Sales,ou=mail,{site.suffix}"
        cls.agent = f"cn=POA,{cls.office}"
        for user in ("unknown", "broken"):
            site.add_user(user)
        for user in ("alice", "bob", "broken"):
            client = site.imap_client(user)
            client.select()
            client.append("INBOX", None, None, b"Subject: first\r\n\r\nx\r\n")
            client.logout()
        site.ldap("ldapadd", text=f"dn: {cls.agent}\nobjectClass: posternPostOfficeAgent\ncn: POA\nposternHost: 127.0.0.1\n"
                                  f"posternPort: {cls.dovecot.port}\nposternTls: disabled\nposternLmtpPort: {cls.lmtp}\n\n")
        site.modify(cls.office, posternAccessMode="clientServerAndDirect")
        poll(cls.relayed, what="a login through Dovecot")
        poll(lambda: "show the same mailboxes: the path stands in" in site.log(), what="the comparison")
        cls.numbers = iter(range(1000))

    @classmethod
    def tearDownClass(cls):
        log = cls.site.log()
        if "bug:" in log or "Sanitizer" in log or "runtime error" in log:
            raise AssertionError("the gateway's log speaks of a bug:\n" + log[-5000:])

    @classmethod
    def certificate(cls, name, alternative):
        base = os.path.join(cls.site.dir, "tls", name)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", base + ".key",
                        "-out", base + ".crt", "-subj", "/CN=poa", "-addext", f"subjectAltName={alternative}"], check=True, stderr=subprocess.DEVNULL)
        with open(base + ".pem", "w") as file:
            for part in (".key", ".crt"):
                with open(base + part) as other:
                    file.write(other.read())

    @classmethod
    def relayed(cls):
        client = cls.site.imap_client()
        client.xatom("ID", "NIL")
        poa = b"Dovecot" in (client.response("ID")[1][0] or b"")
        client.logout()
        return poa

    def setUp(self):
        self.ended = None
        self.subject = f"message {next(self.numbers)}."

    def gate(self, target=None, mode="clientServerAndDirect", **settings):
        """A new gate that the Post Office Agent names for LMTP from now on; known by the gateway when the status shows that it has read it."""
        gate = Gate(target or self.lmtp)
        self.addCleanup(gate.close)
        self.set_agent(mode=mode, posternLmtpPort=gate.port, **settings)
        return gate

    def set_agent(self, mode="clientServerAndDirect", **settings):
        site = self.site
        port = settings["posternLmtpPort"]
        site.modify(self.office, posternAccessMode=mode)
        limit = 30_000_000 + next(self.numbers)
        site.modify(self.agent, **{"posternHost": "127.0.0.1", "posternTls": "disabled", "posternTlsCaFile": None, "posternTlsCertificate": None, "posternPoaLogin": None,
                                   "posternPoaCredentials": None, "posternPoaProxyHeader": None, "posternPoaTimeoutMilliseconds": 20000, **settings, "posternLmtpPort": port})
        site.set_agent(posternSmtpMaxMessageSize=limit)

        def taken():
            with site.smtp_client() as client:
                client.ehlo()
                return client.esmtp_features["size"] == str(limit)
        poll(taken, what="the edit")

    def submit(self, *to, size=0, sender="alice", address=None):
        """address: where the client is."""
        body = b"".join(b"%06d %s\r\n" % (n, b"x" * 70) for n in range(size // 79))
        message = f"From: {sender}@example.org\r\nTo: x\r\nSubject: {self.subject}\r\n\r\n".encode() + body + b".end\r\n"
        with smtplib.SMTP_SSL("localhost", self.site.submissions, context=self.site.tls(), timeout=30,
                              source_address=address and (address, 0)) as client:
            client.login(sender, "secret")
            client.sendmail(f"{sender}@example.org", [f"{user}@example.org" for user in to], message)

    def spool(self):
        return [name for name in os.listdir(os.path.join(self.site.dir, "state", "queue")) if name.endswith(".envelope")]

    def copies(self, user="bob", subject=None):
        """The files of the user's Maildir that hold this subject."""
        found = []
        for place in ("cur", "new"):
            directory = os.path.join(self.site.maildir(user), place)
            for name in os.listdir(directory):
                with open(os.path.join(directory, name), "rb") as file:
                    data = file.read()
                if f"Subject: {subject or self.subject}\n".encode() in data.split(b"\n\n")[0] + b"\n":
                    found.append(data)
        return found

    def finished(self):
        poll(lambda: not self.spool(), what="an empty spool")

    def one_copy(self, by_lmtp, user="bob"):
        self.finished()
        found = self.copies(user)
        self.assertEqual(len(found), 1)
        self.assertEqual(b"with LMTP" in found[0].split(b"\n\n")[0], by_lmtp)
        self.assertTrue(found[0].endswith(b".end\n"))

    def test_delivery(self):
        gate = self.gate()
        for _ in range(5):
            self.subject = f"message {next(self.numbers)}."
            self.submit("bob")
            self.one_copy(True)
        self.assertLess(gate.connections, 5)    # kept for the next message for some seconds
        self.submit("alice", "bob", size=2_000_000)
        self.one_copy(True, "alice")
        # an address that Dovecot does not know
        self.site.modify(self.site.user_dn("bob"), posternMailAlias="robert@example.org")
        self.subject = f"message {next(self.numbers)}."
        self.submit("robert")
        self.one_copy(True)

    def test_results_by_recipient(self):
        gate = self.gate()
        broken = self.site.maildir("broken")
        os.chmod(broken, 0)
        try:
            self.subject = f"message {next(self.numbers)}."
            self.submit("alice", "unknown", "bob", "broken")
            poll(lambda: len(self.copies("alice", "Undelivered mail returned to sender")) == 1, what="a notice")
            notice = self.copies("alice", "Undelivered mail returned to sender")[0].decode()
            self.assertIn("Final-Recipient: rfc822; unknown@example.org\nAction: failed\nStatus: 5.1.1", notice)
            self.assertNotIn("broken@", notice)
            self.assertEqual((len(self.copies("alice")), len(self.copies("bob"))), (1, 1))
            poll(lambda: len(self.spool()) == 1, what="the one that waits")
            with open(os.path.join(self.site.dir, "state", "queue", self.spool()[0])) as file:
                kept = re.findall(r"^(?:recipient|unknown) .*", file.read(), re.M)
            self.assertEqual(kept, ["recipient broken@example.org"])
        finally:
            os.chmod(broken, 0o700)
        self.assertEqual(gate.events, [])
        self.gate()    # another way: what waits goes at once
        self.one_copy(True, "broken")

    def test_down(self):
        gate = self.gate()
        gate.close()
        self.submit("bob")
        self.one_copy(False)
        poll(lambda: f": LMTP at 127.0.0.1:{gate.port} is away, since" in
             self.site.ldap("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", self.site.agent_dn, "posternLinkState").stdout, what="the status")
        # client/server only: it waits, and goes when LMTP is back
        self.set_agent(mode="clientServer", posternLmtpPort=free_port())
        self.subject += " again."
        before = self.site.log().count("<bob@example.org>: deferred")
        self.submit("bob")
        poll(lambda: self.site.log().count("<bob@example.org>: deferred") > before, what="a deferral")
        self.assertEqual(self.copies(), [])
        self.gate(mode="clientServer")
        self.one_copy(True)

    def test_cut(self):
        gate = self.gate()
        gate.mode = "cut"
        self.submit("bob", size=8_000_000)
        self.one_copy(False)
        self.assertEqual(gate.events, ["cut"])

    def test_reply_is_lost(self):
        gate = self.gate()
        gate.mode = "swallow"
        self.submit("alice", "bob")
        self.one_copy(True)
        self.one_copy(True, "alice")
        self.assertEqual(gate.events, ["swallowed"])
        self.assertIn("<bob@example.org>: sent: found in the mailbox", self.site.log())

    def test_reply_is_lost_and_there_is_no_path(self):
        gate = self.gate(mode="clientServer", posternPoaLogin="masterUser", posternPoaCredentials="poa")
        gate.mode = "swallow"
        self.submit("bob")
        self.one_copy(True)
        self.assertEqual(gate.events, ["swallowed"])
        self.assertGreater(self.site.log().count("sent: found in the mailbox"), 0)

    def end_agent(self):
        self.ended = self.site.agent_pid()
        kill(self.ended)

    def test_agent_is_killed(self):
        gate = self.gate()
        gate.at_end = self.end_agent
        for size in (0, 300_000):
            self.subject = f"message {next(self.numbers)}."
            gate.mode = "end"
            self.submit("bob", size=size)
            poll(lambda: len(gate.events) == (2 if size else 1), what="the end of the agent")
            poll(lambda: self.site.agent_pid() not in (None, self.ended), what="another agent")
            self.one_copy(True)
        self.assertEqual(gate.events, ["swallowed"] * 2)

    @unittest.skipUnless(FULL, "takes half a minute: --full")
    def test_agent_is_killed_and_nothing_was_delivered(self):
        gate = self.gate()
        gate.at_end, gate.mode = self.end_agent, "withhold"
        self.submit("bob")
        poll(lambda: gate.events, what="the end of the agent")
        poll(lambda: self.site.agent_pid() not in (None, self.ended), what="another agent")
        self.assertEqual(self.copies(), [])
        self.finished()
        self.one_copy(True)
        self.assertEqual(gate.events, ["withheld"])
        self.assertIn("deferred: the agent may have it", self.site.log())

    @unittest.skipUnless(FULL, "takes two minutes: --full")
    def test_agent_is_frozen(self):
        """It has heard the end of the message, and goes on when the gateway has long given up waiting."""
        gate = self.gate()
        gate.mode = "freeze"
        self.submit("bob")
        poll(lambda: gate.events, what="the end of the message")
        poll(lambda: "<bob@example.org>: deferred: the agent may have it and has not answered" in self.site.log(), 200, what="a second look")
        self.assertEqual(self.copies(), [])
        gate.thaw.set()
        self.finished()
        self.one_copy(True)

    def test_tls(self):
        for tls, port in (("required", self.lmtp), ("implicit", self.lmtps), ("enabled", self.lmtp)):
            with self.subTest(tls=tls):
                self.subject = f"message {next(self.numbers)}."
                self.set_agent(posternHost="localhost", posternTls=tls, posternTlsCaFile="right.crt", posternLmtpPort=port)
                self.submit("bob")
                self.one_copy(True)
                self.assertIn(b"with LMTPS", self.copies()[0])

    def test_wrong_certificate(self):
        for tls, port in (("required", self.lmtp), ("implicit", self.lmtps)):
            with self.subTest(tls=tls):
                self.subject = f"message {next(self.numbers)}."
                self.set_agent(mode="clientServer", posternHost="localhost", posternTls=tls, posternTlsCaFile="other.crt", posternLmtpPort=port)
                before = self.site.log().count("TLS: ")
                self.submit("bob")
                poll(lambda: self.site.log().count("TLS: ") > before, what="a refused certificate")
                poll(lambda: len(self.spool()) == 1, what="mail that waits")
                self.assertEqual(self.copies(), [])
                self.set_agent(mode="clientServer", posternHost="localhost", posternTls=tls, posternTlsCaFile="right.crt", posternLmtpPort=port)
                self.one_copy(True)

    def test_client_address(self):
        """Dovecot logs where each message's client was, over one connection."""
        gate = self.gate()
        sent = lambda: re.findall(r"queue: (\w+): from <alice@example.org> to <bob@example.org>: sent", self.site.log())
        for address in ("127.0.0.77", "127.0.0.78", "127.0.0.77"):
            self.subject = f"message {next(self.numbers)}."
            before = len(sent())
            self.submit("bob", address=address)
            self.one_copy(True)
            queue_id = poll(lambda: sent()[before:], what="the line of the queue")[0]
            poll(lambda: re.search(rf"lmtp\(bob\) rip={address} session={queue_id}[:T0-9]*: ", self.dovecot.log()), what=f"{address} in Dovecot's log")
        self.assertEqual(gate.connections, 1)

    def test_proxy_header(self):
        self.set_agent(mode="clientServer", posternLmtpPort=self.lmtp_proxied)
        self.submit("bob", address="127.0.0.79")    # it closes what does not begin with the header
        poll(lambda: re.search("LMTP at 127.0.0.1 port %d is away" % self.lmtp_proxied, self.site.log()), what="a failed access")
        self.assertEqual(self.copies(), [])
        self.set_agent(mode="clientServer", posternLmtpPort=self.lmtp_proxied, posternPoaProxyHeader="TRUE")
        self.one_copy(True)
        poll(lambda: "rip=127.0.0.79" in self.dovecot.log(), what="the client's address in Dovecot's log")
        self.subject += " another."
        self.submit("bob", address="127.0.0.80")
        self.one_copy(True)
        poll(lambda: "rip=127.0.0.80" in self.dovecot.log(), what="the other one's")

    def test_credentials(self):
        """An agent that wants to know who gives it mail: with wrong ones the mail waits, and is never returned."""
        small = self.small(login=b"\0gate\0open sesame")
        for name, secret in (("wrong", "wrong"), ("right", "open sesame")):
            with open(os.path.join(self.site.dir, "credentials", name), "w") as file:
                file.write(f"gate\n{secret}\n")
        settings = {"mode": "clientServer", "posternLmtpPort": small.port}
        self.set_agent(**settings)
        self.submit("bob")
        poll(lambda: "deferred: 530 5.7.0" in self.site.log(), what="a deferral")
        self.set_agent(**settings, posternPoaLogin="masterUser", posternPoaCredentials="wrong")
        poll(lambda: "the credentials of the gateway are refused: 535 5.7.8 no" in self.site.log(), what="refused credentials")
        self.assertEqual(len(self.spool()), 1)
        self.set_agent(**settings, posternPoaLogin="masterUser", posternPoaCredentials="right")
        self.finished()
        self.assertEqual(small.seen[-2:], [b"DATA\r\n", b".\r\n"])
        self.assertNotIn("<bob@example.org>: failed", self.site.log())

    def small(self, context=None, login=None):
        small = Small(context, login)
        self.addCleanup(small.close)
        return small

    def test_tls_is_not_offered(self):
        """A POA that is to speak TLS and does not gets no mail in clear text; the path stands in."""
        small = self.small()
        self.set_agent(posternTls="required", posternLmtpPort=small.port)
        self.submit("bob")
        self.one_copy(False)
        self.assertEqual({line.split()[0] for line in small.seen}, {b"LHLO"})

    def test_own_certificate(self):
        """A POA that wants to see a certificate of the gateway sees the one that its object names."""
        tls = os.path.join(self.site.dir, "tls")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(tls, "right.pem"))
        context.load_verify_locations(os.path.join(tls, "other.crt"))
        context.verify_mode = ssl.CERT_REQUIRED
        small = self.small(context)
        settings = {"mode": "clientServer", "posternHost": "localhost", "posternTls": "implicit", "posternTlsCaFile": "right.crt", "posternLmtpPort": small.port}
        self.set_agent(**settings)
        self.submit("bob")
        poll(lambda: small.seen, what="a refusal")
        self.assertTrue(isinstance(small.seen[0], str) and "peer did not return a certificate" in small.seen[0], small.seen)
        self.assertEqual(len(self.spool()), 1)
        self.set_agent(**settings, posternTlsCertificate="other.pem")
        self.finished()
        self.assertIn(b".\r\n", small.seen)


if __name__ == "__main__":
    become_nobody()
    main()
