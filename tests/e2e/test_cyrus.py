#!/usr/bin/env python3
"""A real Cyrus as Post Office Agent, client/server only: logins by the user's password and by the gateway's credentials, IMAP, POP3 and delivery through it."""
import os
import re
import signal
import subprocess
import unittest

from cyrus import Cyrus
from dovecot import become_nobody
from harness import Site, main, poll


class CyrusAgent(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site()
        cls.addClassCleanup(cls.site.close)
        place = os.path.join(cls.site.dir, "cyrus")
        os.mkdir(place)
        password = cls.site.env["POSTERN_PASSWORD"]
        users = ["alice", "pop", "turn", "row", "mail", "act", "wrong"]
        tls = os.path.join(cls.site.dir, "tls")
        for name, more in (("cyrus", ["-addext", "subjectAltName=DNS:localhost"]), ("gate", [])):
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-keyout", f"{tls}/{name}.key",
                            "-out", f"{tls}/{name}.pem", "-subj", f"/CN={name}", *more], check=True, stderr=subprocess.DEVNULL)
        cls.cyrus = Cyrus(place, {**{user: password for user in users}, "act": "another", "wrong": "another", "gate": "open sesame"},
                          (f"{tls}/cyrus.pem", f"{tls}/cyrus.key", f"{tls}/gate.pem"))
        if cls.cyrus.trouble:
            raise unittest.SkipTest(cls.cyrus.trouble)
        cls.addClassCleanup(cls.cyrus.stop)
        cls.cyrus.start()
        for user in users[1:]:
            cls.site.add_user(user)
        cls.office = f"cn=Sales,ou=mail,{cls.site.suffix}"
        cls.agent = f"cn=POA,{cls.office}"
        cls.site.ldap("ldapadd", text=f"dn: {cls.agent}\nobjectClass: posternPostOfficeAgent\ncn: POA\nposternHost: 127.0.0.1\n"
                                      f"posternPort: {cls.cyrus.port}\nposternLmtpPort: {cls.cyrus.lmtp}\nposternTls: disabled\n"
                                      "posternPoaTimeoutMilliseconds: 20000\nposternPoaLoginMilliseconds: 20000\n\n")    # a busy machine does not make it away
        cls.site.modify(cls.office, posternAccessMode="clientServer")
        poll(lambda: cls.is_cyrus("alice"), what="Cyrus as Post Office Agent")
        cls.numbers = iter(range(1000))

    @classmethod
    def login(cls, user):
        s, reader, _ = cls.site.raw(cls.site.imap)
        s.sendall(f"l LOGIN {user} {cls.site.env['POSTERN_PASSWORD']}\r\n".encode())
        line = reader.readline()
        return s, reader, line

    @classmethod
    def is_cyrus(cls, user):
        s, reader, line = cls.login(user)
        found = b""
        if line.startswith(b"l OK"):
            s.sendall(b'i ID ("name" "test")\r\n')
            while not found.startswith(b"* ID") and not found.startswith(b"i "):
                found = reader.readline()
        s.close()
        return b"Cyrus" in found

    def test_session(self):
        client = self.site.imap_client("alice")
        self.assertFalse([word for word in client.capability()[1][0].decode().split() if word.startswith(("AUTH=", "COMPRESS")) or word in ("STARTTLS", "LOGINDISABLED", "SASL-IR", "MAILBOX-REFERRALS")])
        self.assertEqual(client.enable("CONDSTORE")[0], "OK")    # it is the only way: what the POA keeps is offered
        body = b"Subject: one\r\n\r\n" + b"0123456789abcde\r\n" * 100_000
        self.assertEqual(client.append("INBOX", r"(\Flagged)", None, body)[0], "OK")
        self.assertEqual(client.create("INBOX.Folder")[0], "OK")
        self.assertIn(b"INBOX.Folder", b"".join(client.list()[1]))
        client.select()
        self.assertEqual(client.fetch("1", "(BODY.PEEK[])")[1][0][1], body)
        self.assertEqual(client.copy("1", "INBOX.Folder")[0], "OK")
        self.assertEqual(client.store("1", "+FLAGS", r"(\Deleted)")[0], "OK")
        self.assertEqual(client.expunge()[0], "OK")
        client.logout()

    def test_idle(self):
        s, reader, _ = self.login("mail")
        s.sendall(b"a SELECT INBOX\r\n")
        while not (line := reader.readline()).startswith(b"a OK"):
            self.assertTrue(line)
        s.sendall(b"b IDLE\r\n")
        self.assertTrue(reader.readline().startswith(b"+"))
        self.site.send(b"Subject: delivered\r\n\r\nby LMTP\r\n", to=("mail@example.org",))
        while b"EXISTS" not in (line := reader.readline()):
            self.assertTrue(line)
        s.sendall(b"DONE\r\nc FETCH 1 BODY[]\r\nd LOGOUT\r\n")
        rest = reader.read()
        s.close()
        self.assertIn(b"by LMTP", rest)
        self.assertIn(b"Received: ", rest)
        self.assertFalse(os.path.exists(self.site.maildir("mail")))    # nobody went to the path

    def set_agent(self, **settings):
        """Returns when the gateway has read it: it reads what is edited afterwards later."""
        self.site.modify(self.agent, **settings)
        limit = 30_000_000 + next(self.numbers)
        self.site.set_agent(posternSmtpMaxMessageSize=limit)

        def taken():
            with self.site.smtp_client() as client:
                client.ehlo()
                return client.esmtp_features["size"] == str(limit)
        poll(taken, what="the edit")

    def has(self, user, subject):
        client = self.site.imap_client(user)
        client.select()
        found = client.search(None, "SUBJECT", f'"{subject}"')[1][0].split()
        client.logout()
        return len(found)

    def test_lmtp_with_login(self):
        """Its LMTP asks over TCP who gives it mail. Refused, the mail waits."""
        for name, password in (("lmtp-wrong", "wrong"), ("lmtp-right", "open sesame")):
            with open(os.path.join(self.site.dir, "credentials", name), "w") as file:
                file.write(f"gate\n{password}\n")
        login = {"posternPoaLogin": "authorization", "posternLmtpPort": self.cyrus.lmtp_auth}
        try:
            self.set_agent(**login, posternPoaCredentials="lmtp-wrong")
            self.site.send(b"Subject: who gives it\r\n\r\nx\r\n", to=("turn@example.org",))
            poll(lambda: "the credentials of the gateway are refused: 5" in self.site.log(), what="refused credentials")
            self.set_agent(**login, posternPoaCredentials="lmtp-right")
            poll(lambda: self.has("turn", "who gives it") == 1, what="the message")
            poll(lambda: "to <turn@example.org>: sent" in self.site.log(), what="the line of the queue")
            self.assertNotIn("<turn@example.org>: failed", self.site.log())
        finally:
            self.set_agent(posternPoaLogin=None, posternPoaCredentials=None, posternLmtpPort=self.cyrus.lmtp)

    def test_wrong_password(self):
        s, _, line = self.login("wrong")
        s.close()
        self.assertTrue(line.startswith(b"l NO [AUTHENTICATIONFAILED]"), line)
        self.assertTrue(self.is_cyrus("alice"))

    def test_gateway_credentials(self):
        """The user's own password is another one at Cyrus: by authorization identity (proxyservers) that does not matter."""
        s, _, line = self.login("act")
        s.close()
        self.assertTrue(line.startswith(b"l NO [AUTHENTICATIONFAILED]"), line)
        with open(os.path.join(self.site.dir, "credentials", "cyrus"), "w") as file:
            file.write("gate\nopen sesame\n")
        self.site.modify(self.agent, posternPoaLogin="authorization", posternPoaCredentials="cyrus")
        try:
            poll(lambda: self.is_cyrus("act"), what="a login by the gateway's credentials")
            client = self.site.imap_client("act")
            self.assertEqual(client.append("INBOX", None, None, b"Subject: mine\r\n\r\nx\r\n")[0], "OK")
            client.logout()
        finally:
            self.site.modify(self.agent, posternPoaLogin=None, posternPoaCredentials=None)
            poll(lambda: not self.is_cyrus("act") and self.is_cyrus("alice"), what="the user's own passwords")

    def test_certificate(self):
        """By the gateway's certificate and EXTERNAL, within TLS that is verified on both sides."""
        own = {"posternPort": self.cyrus.imaps, "posternTls": "implicit", "posternTlsCaFile": "cyrus.pem", "posternHost": "localhost", "posternPoaLogin": "external",
               "posternTlsCertificate": "cyrus.pem", "posternTlsKey": "cyrus.key"}
        self.site.modify(self.agent, **own)
        try:
            poll(lambda: self.is_answered(rb"l NO \[UNAVAILABLE\]"), what="a refusal of a certificate by nobody that Cyrus knows")
            self.site.modify(self.agent, posternTlsCertificate="gate.pem", posternTlsKey="gate.key")
            poll(lambda: self.is_cyrus("act"), what="a login by the gateway's certificate")
        finally:
            self.site.modify(self.agent, **{**dict.fromkeys(own), "posternHost": "127.0.0.1", "posternPort": self.cyrus.port, "posternTls": "disabled"})
            poll(lambda: not self.is_cyrus("act") and self.is_cyrus("alice"), what="the user's own passwords")

    def is_answered(self, pattern):
        s, _, line = self.login("alice")
        s.close()
        return re.match(pattern, line)

    def test_pop3(self):
        client = self.site.imap_client("pop")
        for number in range(3):
            client.append("INBOX", None, None, f"Subject: {number}\r\n\r\n.dot\r\nbody {number}\r\n".encode())
        client.select()
        validity = int(client.response("UIDVALIDITY")[1][0])
        client.logout()
        pop = self.site.pop3_client("pop")
        self.assertEqual(pop.stat()[0], 3)
        self.assertEqual([line.split()[1].decode() for line in pop.uidl()[1]], [f"{uid:08x}{validity:08x}" for uid in (1, 2, 3)])
        sizes = [int(line.split()[1]) for line in pop.list()[1]]
        lines = pop.retr(2)[1]
        self.assertEqual(lines, [b"Subject: 1", b"", b".dot", b"body 1"])
        self.assertEqual(sizes[1], sum(len(line) + 2 for line in lines))
        pop.dele(1)
        pop.quit()
        client = self.site.imap_client("pop")
        client.select(readonly=True)
        self.assertEqual(client.uid("SEARCH", "ALL")[1][0].split(), [b"2", b"3"])
        client.logout()

    def test_pop3_in_turn(self):
        """Messages that are asked for ahead of the client, plain texts, and a view."""
        client, html = self.site.imap_client("row"), b"MIME-Version: 1.0\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n"
        for number in range(30):
            client.append("INBOX", None, None, b"Subject: %d\r\n" % number + (html if number % 2 else b"\r\n.dot\r\n" * (number + 1)))
        client.select()
        self.assertRegex(client.uid("FETCH", "2", "(UID BODY.PEEK[])")[1][0][0], rb"\(.*UID 2 .*BODY\[\] \{")    # else nothing is asked for ahead
        client.logout()
        for options in ("", ":n", ":s", ":ns"):
            pop = self.site.pop3_client("row" + options)
            sizes = [int(line.split()[1]) for line in pop.list()[1]]
            for number in [*range(30), *range(29, 20, -1), *range(10, 15), 3, 4, 29]:
                lines = pop.retr(number + 1)[1]
                self.assertEqual(lines[0], b"Subject: %d" % number)
                self.assertEqual(lines[-1], b".dot" if number % 2 == 0 else b"hello" if "n" in options else b"aGVsbG8=", (options, number))
                self.assertEqual(sizes[number], 1024 if "s" in options else sum(len(line) + 2 for line in lines))
            pop.quit()
        for left in (30, 20, 10):
            pop = self.site.pop3_client("row:v=3")
            self.assertEqual(pop.stat()[0], left)
            for number in range(10):
                pop.retr(number + 1)
            pop.quit()

    def test_killed(self):
        s, reader, _ = self.login("alice")
        s.sendall(b"a SELECT INBOX\r\n")
        while not (line := reader.readline()).startswith(b"a OK"):
            self.assertTrue(line)
        self.cyrus.stop(signal.SIGKILL)
        try:
            self.assertTrue(reader.readline().startswith(b"* BYE [UNAVAILABLE]"))
            s.close()
            s, _, line = self.login("alice")
            self.assertTrue(re.match(rb"l NO \[UNAVAILABLE\]", line), line)
            s.close()
        finally:
            self.cyrus.start()
        poll(lambda: self.is_cyrus("alice"), what="the way back")


if __name__ == "__main__":
    become_nobody()
    main()
