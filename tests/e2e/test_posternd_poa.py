#!/usr/bin/env python3
"""posternd as a Post Office Agent: a gateway, and a second posternd that is started with the DN of a posternPostOfficeAgent and serves its post office on
the same Maildirs: logins through the link by password and by the gateway's own credentials, delivery by LMTP, the fallback and the way back, clients that
come to it themselves, and everybody whom it must refuse."""
import imaplib
import os
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import unittest

from harness import BUILD, Site, free_port, main, poll, uid_map

MESSAGE = b"From: a@elsewhere.example\r\nSubject: %s\r\n\r\nHello\r\n"


class Agent:
    """The second posternd, in the site's directory, with its own state."""

    def __init__(self, site, dn):
        self.site, self.state = site, os.path.join(site.dir, "poa-state")
        os.mkdir(self.state, 0o700)
        self.log_path = os.path.join(site.dir, "poa.log")
        self.command = [os.path.join(BUILD, "posternd"), "--uri", site.env["POSTERN_LDAP_URI"], "--agent-dn", dn, "--bind-dn", f"cn=gateway,{site.suffix}",
                        "--password-file", os.path.join(site.dir, "credentials", "gateway.pw"), "--state-dir", self.state,
                        "--mail-root", os.path.join(site.dir, "mail"), "--tls-dir", os.path.join(site.dir, "tls")]
        self.process = None

    def start(self):
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def stop(self, how=signal.SIGTERM):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(60)

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def ctl(self, *words):
        done = subprocess.run([os.path.join(BUILD, "posternctl"), "--control", os.path.join(self.state, "control"), *words], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        return done.stdout


def answers(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            return s.recv(10)
    except OSError:
        return b""


class PosterndPoa(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = site = Site()
        cls.addClassCleanup(site.close)
        cls.office = f"cn=Sales,ou=mail,{site.suffix}"
        cls.dn = f"cn=POA,{cls.office}"
        cls.port, cls.lmtp = free_port(), free_port()
        cls.password = site.env["POSTERN_PASSWORD"]
        with open(os.path.join(site.dir, "credentials", "gateway.pw")) as file:
            cls.gateway_password = file.read().strip()
        site.add_user("ben")
        site.add_user("cora", office="Research")
        site.add_user("dora", office="Research", domain="example.net")
        site.ldap("ldapadd", text=f"dn: {cls.dn}\nobjectClass: posternPostOfficeAgent\ncn: POA\nposternHost: localhost\nposternPort: {cls.port}\n"
                                  f"posternLmtpPort: {cls.lmtp}\nposternLogLevel: verbose\nposternLoginFailureMilliseconds: 100\n"
                                  f"posternTrustedGateway: cn=gateway,{site.suffix}\nposternTls: disabled\n"
                                  "posternPoaTimeoutMilliseconds: 20000\nposternPoaLoginMilliseconds: 20000\n\n")    # a busy machine does not make it away
        cls.agent = Agent(site, cls.dn)
        cls.addClassCleanup(cls.agent.stop)
        cls.agent.start()
        poll(lambda: answers(cls.port).startswith(b"* OK") and answers(cls.lmtp).startswith(b"220"), what="an answer of the Post Office Agent")
        site.modify(cls.office, posternAccessMode="clientServerAndDirect")
        cls.through()
        poll(lambda: "show the same" in site.log(), what="the comparison")

    # --- clients
    @classmethod
    def logins(cls, user="alice"):
        return len(re.findall(rf"imap4 session \d+: {user} from \S+ logged in", cls.agent.log()))

    @classmethod
    def relayed(cls, user="alice"):
        before = cls.logins(user)
        client = cls.site.imap_client(user)
        client.logout()
        return cls.logins(user) > before

    @classmethod
    def through(cls):
        poll(cls.relayed, what="a login through the link")

    def direct(self, user="alice", password=None):
        client = imaplib.IMAP4("127.0.0.1", self.port, timeout=30)
        client.login(user, password or self.password)
        return client

    def plain(self, authorize, name, password):
        """What SASL PLAIN at the Post Office Agent is answered."""
        client = imaplib.IMAP4("127.0.0.1", self.port, timeout=30)
        try:
            return client.authenticate("PLAIN", lambda _: f"{authorize}\0{name}\0{password}".encode())[0]
        except imaplib.IMAP4.error as error:
            return str(error)
        finally:
            client.shutdown()

    def subjects(self, client):
        client.select("INBOX", readonly=True)
        _, data = client.fetch("1:*", "(BODY.PEEK[HEADER])")
        return [part[1] for part in data if isinstance(part, tuple)]

    # --- through the link
    def test_relayed(self):
        before = self.logins("ben")
        client = self.site.imap_client("ben")
        self.assertEqual(client.append("INBOX", r"(\Flagged)", None, MESSAGE % b"one")[0], "OK")
        self.assertEqual(self.logins("ben"), before + 1)
        client.select()
        idle = self.site.imap_client("ben")
        idle.select()
        idle.send(b"x IDLE\r\n")
        self.assertTrue(idle.readline().startswith(b"+ "))
        here = self.direct("ben")
        self.assertEqual(here.append("INBOX", None, None, MESSAGE % b"two")[0], "OK")
        poll(lambda: b" EXISTS" in idle.readline(), what="EXISTS in IDLE")
        idle.send(b"DONE\r\n")
        client.noop()
        self.assertEqual([part[0].split()[0] for part in client.fetch("1:*", "(BODY[])")[1] if isinstance(part, tuple)], [str(n + 1).encode() for n in range(len(uid_map(here)))])
        self.assertEqual(uid_map(client), uid_map(here))
        for one in (client, idle, here):
            one.shutdown()

    def test_credentials(self):
        path = os.path.join(self.site.dir, "credentials", "poa")
        with open(path, "w") as file:
            file.write(f"gateway\n{self.gateway_password}\n")
        self.site.modify(self.dn, posternPoaLogin="authorization", posternPoaCredentials="poa")
        try:
            def spoken_for():
                with socket.create_connection(("127.0.0.1", self.site.imap), 30, ("127.0.0.2", 0)) as s:
                    reader = s.makefile("rb")
                    s.sendall(f"a LOGIN alice {self.password}\r\nb LOGOUT\r\n".encode())
                    reader.read()
                return re.search(r"speaks for a client at 127\.0\.0\.2 port \d+", self.agent.log())
            poll(spoken_for, what="a login by the gateway's credentials")
            self.assertIn("alice from 127.0.0.2 logged in", self.agent.log())
            with open(path, "w") as file:
                file.write("gateway\nwrong\n")
            poll(lambda: not self.relayed(), what="refused credentials")
            self.assertIn("credentials of the gateway are refused", self.site.log())
        finally:
            self.site.modify(self.dn, posternPoaLogin=None, posternPoaCredentials=None)
            self.through()

    def test_pop3(self):
        """Translated by the gateway; what it deletes is gone for the others."""
        self.site.add_user("pia")
        here = self.direct("pia")
        for n in range(3):
            here.append("INBOX", None, None, MESSAGE % b"pop %d" % n)
        uids = sorted(uid_map(here))
        before = self.logins("pia")
        client = self.site.pop3_client("pia")
        self.assertEqual(self.logins("pia"), before + 1)
        self.assertEqual([int(line.split()[1][:8], 16) for line in client.uidl()[1]], uids)
        self.assertIn(b"Subject: pop 1", client.retr(2)[1])
        client.dele(2)
        client.quit()
        here.noop()
        self.assertEqual(sorted(uid_map(here)), [uids[0], uids[2]])
        here.shutdown()

    def test_killed_and_back(self):
        client = self.site.imap_client()
        for n in range(3):
            client.append("INBOX", r"(\Seen)", None, MESSAGE % b"kill")
        before = uid_map(client)
        client.shutdown()
        supervisor = self.agent.process.pid
        done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(supervisor)], stdout=subprocess.PIPE, text=True)
        os.kill(supervisor, signal.SIGKILL)
        for pid in done.stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        self.agent.process.wait(60)
        client = self.site.imap_client()
        self.assertEqual(uid_map(client), before)
        client.append("INBOX", None, None, MESSAGE % b"while it is away")
        after = uid_map(client)
        client.shutdown()
        self.agent.start()
        self.through()
        client = self.site.imap_client()
        self.assertEqual(uid_map(client), after)
        client.shutdown()

    def test_without_directory(self):
        """It starts with the last good state, and takes nobody and nothing that it cannot verify."""
        poll(lambda: os.path.exists(os.path.join(self.agent.state, "configuration")), what="the state on disk")
        self.site.kill_slapd()
        try:
            self.agent.stop()
            self.agent.start()
            poll(lambda: answers(self.port).startswith(b"* OK") and answers(self.lmtp).startswith(b"220"), what="a start without the directory")
            with self.assertRaisesRegex(imaplib.IMAP4.error, "UNAVAILABLE"):
                self.direct()
            self.assertIn("UNAVAILABLE", self.plain("alice", "gateway", self.gateway_password))
            with smtplib.LMTP("127.0.0.1", self.lmtp, local_hostname="gate.example") as client:
                client.ehlo()
                client.docmd("MAIL", "FROM:<>")
                self.assertEqual(client.docmd("RCPT", "TO:<alice@example.org>")[0], 451)
        finally:
            self.site.start_slapd()
        poll(lambda: self.plain("alice", "gateway", self.gateway_password) == "OK", what="a login")
        self.through()

    # --- at the Post Office Agent itself
    def test_own_clients(self):
        here, there = self.direct(), self.site.imap_client()
        self.assertEqual(here.append("INBOX", r"(\Answered)", None, MESSAGE % b"own")[0], "OK")
        self.assertEqual(uid_map(here), uid_map(there))
        here.shutdown()
        there.shutdown()
        self.assertIn("direct", self.agent.ctl("links"))
        self.assertRegex(self.agent.ctl("config"), rf"posternImap4Port\s+{self.port}\s")
        checked = subprocess.run([os.path.join(BUILD, "posternctl"), "check", "--uri", self.site.env["POSTERN_LDAP_URI"], "--agent-dn", self.dn, "--bind-dn",
                                  f"cn=gateway,{self.site.suffix}", "--password-file", os.path.join(self.site.dir, "credentials", "gateway.pw"),
                                  "--mail-root", os.path.join(self.site.dir, "mail")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(checked.returncode, 0, checked.stdout)
        poll(lambda: "posternVersion" in self.site.ldap("ldapsearch", "-LLL", "-b", self.dn, "-s", "one", "(objectClass=posternAgentStatus)").stdout,
             what="the status under the object")

    def test_refused(self):
        with self.assertRaisesRegex(imaplib.IMAP4.error, "AUTHENTICATIONFAILED"):
            self.direct("cora")
        client = self.site.imap_client("cora")    # by the gateway she is served
        client.logout()
        self.assertIn("a user of another post office", self.agent.log())
        gateway, right = f"cn=gateway,{self.site.suffix}", self.gateway_password
        self.assertEqual(self.plain("alice", "gateway", right), "OK")
        self.assertEqual(self.plain("alice", gateway, right), "OK")
        self.assertEqual(self.plain("", "alice", self.password), "OK")
        for authorize, name, password in (
                ("alice", "ben", self.password), ("alice", self.site.user_dn("ben"), self.password), ("alice", "gateway", "wrong"), ("alice", gateway, ""),
                ("alice", self.site.env["POSTERN_ADMIN_DN"], self.site.env["POSTERN_ADMIN_PASSWORD"]), ("cora", "gateway", right), ("nobody", "gateway", right),
                ("", "gateway", right), ("gateway", "gateway", right), ("", "alice", right)):
            self.assertIn("AUTHENTICATIONFAILED", self.plain(authorize, name, password), (authorize, name))
        # gateways have addresses, this is not one of them
        self.site.modify(self.dn, posternTrustedAddress="192.0.2.*")
        poll(lambda: "AUTHENTICATIONFAILED" in self.plain("alice", "gateway", right), what="the end of the trust")
        self.site.modify(self.dn, posternTrustedAddress=["192.0.2.*", "127.0.0.1", "::1"])
        poll(lambda: self.plain("alice", "gateway", right) == "OK", what="the trust again")
        self.site.modify(self.dn, posternTrustedAddress=None)
        # the gateway is not trusted any more: at once, and without the gateway's word no address is believed
        self.site.modify(self.dn, posternTrustedGateway=None)
        try:
            poll(lambda: "AUTHENTICATIONFAILED" in self.plain("alice", "gateway", right), what="the end of the trust")
            self.assertIn("for another user where posternTrustedGateway names nobody", self.agent.log())
            client = imaplib.IMAP4("127.0.0.1", self.port, timeout=30)
            client.xatom("ID", '("x-originating-ip" "192.0.2.66")')
            client.login("alice", self.password)
            client.logout()
            self.assertNotIn("192.0.2.66", self.agent.log())
            self.site.modify(self.dn, posternTrustedAddress="127.0.0.*")
            poll(lambda: self.claims("192.0.2.67"), what="a claim that is believed")
        finally:
            self.site.modify(self.dn, posternTrustedGateway=gateway, posternTrustedAddress=None)
        poll(lambda: self.plain("alice", "gateway", right) == "OK", what="the trust again")

    def claims(self, address, tls=None, tried=False):
        """Is it believed? tls: begun before it, or, with False, after; and tried: with a login between them that is refused."""
        client = imaplib.IMAP4("localhost", self.port, timeout=30)
        if tls:
            client.starttls(self.site.tls())
        client.xatom("ID", f'("x-originating-ip" "{address}" "x-originating-port" "99")')
        if tried:
            with self.assertRaisesRegex(imaplib.IMAP4.error, "AUTHENTICATIONFAILED"):
                client.login("alice", "wrong")
        if tls is False:
            client.starttls(self.site.tls())
        client.login("alice", self.password)
        client.logout()
        return f"alice from {address} logged in" in self.agent.log()

    # --- LMTP
    def hand_over(self, client, subject, recipients):
        """recipients: each with the code that RCPT is answered; whoever is accepted then gets the message."""
        self.assertEqual(client.docmd("MAIL", "FROM:<a@elsewhere.example>")[0], 250)
        for recipient, code in recipients:
            self.assertEqual(client.docmd("RCPT", f"TO:<{recipient}>")[0], code, recipient)
        self.assertEqual(client.docmd("DATA")[0], 354)
        client.send(MESSAGE % subject + b".\r\n")
        for _, code in recipients:
            if code == 250:
                self.assertEqual(client.getreply()[0], 250)

    def test_lmtp(self):
        with smtplib.LMTP("127.0.0.1", self.lmtp, local_hostname="gate.example") as client:
            client.ehlo()
            for word in ("pipelining", "size", "8bitmime", "enhancedstatuscodes"):
                self.assertTrue(client.has_extn(word), word)
            self.assertEqual(client.docmd("EHLO", "x")[0], 500)
            self.hand_over(client, b"by LMTP", (("alice@example.org", 250), ("nobody@example.org", 550), ("ben", 250), ("x@elsewhere.example", 550),
                                                ("cora@example.org", 451), ("dora@example.net", 451), ("alice@example.org", 250)))
            self.assertEqual(client.docmd("MAIL", "FROM:<>")[0], 250)
            self.assertEqual(client.docmd("DATA")[0], 503)
        for user in ("alice", "ben"):
            client = self.direct(user)
            got = [head for head in self.subjects(client) if b"by LMTP" in head]
            self.assertEqual(len(got), 1)
            self.assertTrue(got[0].startswith(b"Return-Path: <a@elsewhere.example>\r\nReceived: from gate.example ([127.0.0.1])\r\n\tby "))
            self.assertIn(b" with LMTP id ", got[0])
            client.logout()

    def test_delivery(self):
        """From outside, by SMTP to the gateway: through the link."""
        self.delivered(b"from outside", b"LMTP")

    def delivered(self, subject, protocol):
        self.site.send(MESSAGE % subject, to=("alice@example.org", "ben@example.org"))
        for user in ("alice", "ben"):
            client = self.site.imap_client(user)
            got = poll(lambda: [head for head in self.subjects(client) if subject in head], what="the message")
            self.assertEqual(len(got), 1)
            self.assertRegex(got[0], rb"^Return-Path: \S+\r\nReceived: from \S+ \(\[127\.0\.0\.1\]\)\r\n\tby \S+ with " + protocol + b" id ")
            client.logout()

    def test_client_address(self):
        """A gateway that is trusted tells where the client of each message was; from others that is not taken."""
        self.site.modify(self.dn, posternTrustedAddress=["127.0.0.*", "::1"])
        try:
            poll(lambda: self.offers_xclient(), what="XCLIENT")
            for address in ("127.0.0.91", "127.0.0.92"):
                subject = f"from {address}.".encode()
                with smtplib.SMTP("127.0.0.1", self.site.smtp, local_hostname="pc.example", timeout=30, source_address=(address, 0)) as client:
                    client.sendmail("a@elsewhere.example", ["alice@example.org"], MESSAGE % subject)
                client = self.site.imap_client("alice")
                got = poll(lambda: [head for head in self.subjects(client) if subject in head], what="the message")
                self.assertRegex(got[0], rb"^Return-Path: \S+\r\nReceived: from pc.example \(\[" + address.encode() + rb"\]\)\r\n\tby \S+ with LMTP id ")
                client.logout()
        finally:
            self.site.modify(self.dn, posternTrustedAddress=None)
        poll(lambda: not self.offers_xclient(), what="the end of the trust")

    def offers_xclient(self):
        with smtplib.LMTP("127.0.0.1", self.lmtp, local_hostname="gate.example") as client:
            client.ehlo()
            return client.has_extn("xclient")

    def test_port_of_an_internet_agent(self):
        """For the site's own servers: mailboxes of its own at once, those behind a Post Office Agent by the queue."""
        port = free_port()
        self.site.set_agent(posternLmtpPort=port)
        try:
            poll(lambda: answers(port).startswith(b"220"), what="the port")
            with smtplib.LMTP("127.0.0.1", port, local_hostname="list.example") as client:
                client.ehlo()
                self.hand_over(client, b"from the list", (("alice@example.org", 250), ("x@elsewhere.example", 550), ("cora@example.org", 250)))
            for user in ("alice", "cora"):
                client = self.site.imap_client(user)
                poll(lambda: [head for head in self.subjects(client) if b"from the list" in head], what="the message")
                client.logout()
        finally:
            self.site.set_agent(posternLmtpPort=None)
            poll(lambda: answers(port) == b"", what="the end of the port")

    # --- TLS as the object says
    def test_tls(self):
        plain = dict(posternTls="disabled", posternTlsCaFile=None, posternPoaCertificate=None, posternPoaKey=None, posternTrustedAddress=None)
        files = dict(posternTlsCaFile="ca.pem", posternPoaCertificate="server.pem", posternPoaKey="server.key")
        try:
            self.site.modify(self.dn, posternTls="required", **files)
            poll(lambda: b"STARTTLS" in self.capability() and b"AUTH=" not in self.capability(), what="STARTTLS")
            self.through()
            self.delivered(b"after STARTTLS", b"LMTPS")
            # what was said before it may have been said by somebody else
            self.site.modify(self.dn, posternTrustedAddress="127.0.0.*")
            poll(lambda: self.claims("192.0.2.71", tls=True), what="a claim that is believed")
            self.assertFalse(self.claims("192.0.2.70", tls=False))
            self.assertNotIn("192.0.2.70", self.agent.log())
            self.site.modify(self.dn, posternTls="enabled")
            poll(lambda: b"STARTTLS" in self.capability() and b"AUTH=" in self.capability(), what="logins without TLS")
            self.assertFalse(self.claims("192.0.2.72", tls=False, tried=True))
            self.site.modify(self.dn, posternTls="implicit", **files)
            poll(lambda: self.speaks_tls(self.port, b"* OK") and self.speaks_tls(self.lmtp, b"220"), what="TLS from the first byte")
            self.through()
            self.delivered(b"within TLS", b"LMTPS")
            # without a certificate it would serve nobody: the edit is a fault, and what was valid stays
            self.site.modify(self.dn, posternPoaCertificate=None)
            poll(lambda: "posternPoaCertificate: is missing" in self.agent.log(), what="the fault")
            self.assertTrue(self.speaks_tls(self.port, b"* OK"))
        finally:
            self.site.modify(self.dn, **plain)
            poll(lambda: answers(self.port).startswith(b"* OK"), what="clear text again")
            self.through()

    def capability(self):
        with socket.create_connection(("127.0.0.1", self.port), 10) as s:
            return s.makefile("rb").readline()

    def speaks_tls(self, port, greeting):
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as s, self.site.tls().wrap_socket(s, server_hostname="localhost") as tls:
                return tls.recv(100).startswith(greeting)
        except (OSError, ssl.SSLError):
            return False


if __name__ == "__main__":
    main()
