#!/usr/bin/env python3
"""Classes of service over a real directory: every level, every limit in its protocol, and sessions whose rights are taken away or changed while they
are connected. Prints how long an edit takes to end many sessions."""
import imaplib
import poplib
import re
import socket
import statistics
import threading
import time
import unittest

from harness import Site, main, poll

MESSAGE = "From: {0}\r\nTo: x@y.example\r\nSubject: test\r\n\r\n{1}\r\n"
REVOKED = 1.0     # seconds after the edit's own success


class Sink:
    """A relay host that takes everything."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(s,), daemon=True).start()

    def talk(self, s):
        try:
            self.answer(s)
        except OSError:
            pass        # the agent has gone away

    @staticmethod
    def answer(s):
        with s, s.makefile("rwb") as f:
            f.write(b"220 sink\r\n")
            f.flush()
            data = False
            for line in f:
                if data:
                    if line != b".\r\n":
                        continue
                    data = False
                word = line[:4].upper()
                data = word == b"DATA" and line != b".\r\n"
                f.write(b"354 go\r\n" if data else b"250 sink\r\n")
                f.flush()


class Rights(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site()
        cls.sink = Sink()
        cls.site.set_agent_now(posternLoginFailureMilliseconds="50", posternRelayHost=f"127.0.0.1:{cls.sink.port}", posternClearTextLogin="always")
        cls.classes, cls.times = [], []

    @classmethod
    def tearDownClass(cls):
        cls.sink.listener.close()
        cls.site.close()
        if cls.times and statistics.median(cls.times) > REVOKED:
            raise AssertionError(f"sessions ended late: {cls.times}")

    def tearDown(self):
        for name in self.classes:
            self.site.ldap("ldapdelete", f"cn={name},{self.site.agent_dn}", check=False)
        self.classes.clear()

    # --- edits
    def put(self, name, *lines):
        """A class of service; the lines are its attributes."""
        dn = f"cn={name},{self.site.agent_dn}"
        self.site.ldap("ldapadd", text="\n".join([f"dn: {dn}", "objectClass: posternClassOfService", f"cn: {name}", *lines]) + "\n\n")
        self.classes.append(name)
        return dn

    def add(self, dn, *lines):
        self.site.ldap("ldapadd", text="\n".join([f"dn: {dn}", *lines]) + "\n\n")
        self.addCleanup(self.site.ldap, "ldapdelete", dn, check=False)
        return dn

    def user(self, name, **more):
        self.site.add_user(name, **more)
        self.addCleanup(self.site.ldap, "ldapdelete", self.site.user_dn(name), check=False)
        return self.site.user_dn(name)

    # --- what is allowed
    def may_pop3(self, user):
        try:
            self.site.pop3_client(user).quit()
            return True
        except poplib.error_proto as error:
            self.assertRegex(error.args[0], rb"\[AUTH\]|\[SYS/PERM\] Access was revoked")    # at the login, or right after it
            return False

    def may_imap(self, user):
        try:
            self.site.imap_client(user).logout()
            return True
        except imaplib.IMAP4.error:
            return False

    def soon(self, condition, what):
        poll(condition, what=what)

    def smtp(self, user=None):
        client = self.site.smtp_client(self.site.submission if user else self.site.smtp)
        self.addCleanup(client.close)
        client.ehlo()
        if user:
            client.login(user, self.site.env["POSTERN_PASSWORD"])
        return client

    def rcpt(self, sender, to, user=None, size=None):
        """The code of RCPT, or that of MAIL if it was refused."""
        with self.smtp(user) as client:
            code, _ = client.mail(sender, [f"SIZE={size}"] if size else [])
            return code if code != 250 else client.rcpt(to)[0]

    def send(self, user, sender, to, head="", body="x"):
        with self.smtp(user) as client:
            client.mail(sender)
            client.rcpt(to)
            return client.data(f"{head}From: {user}@example.org\r\nSubject: s\r\n\r\n{body}\r\n")[0]

    # --- levels
    def test_levels(self):
        site = self.site
        inner = self.add(f"cn=inner,ou=people,{site.suffix}", "objectClass: groupOfNames", "cn: inner", f"member: {self.user('lena')}")
        outer = self.add(f"cn=outer,ou=people,{site.suffix}", "objectClass: groupOfUniqueNames", "cn: outer", f"uniqueMember: {inner}")
        office = f"cn=Sales,ou=mail,{site.suffix}"
        self.assertTrue(self.may_pop3("lena"))
        below = None
        # from the lowest level up: each decides over the one before
        for level, member in (("everyone", "posternDefaultClass: TRUE"), ("domain", "posternMember: Example.org"),
                              ("office", f"posternMember: {office.upper()}"), ("list", f"posternMember: {outer}"),
                              ("user", f"posternMember: {site.user_dn('lena')}")):
            with self.subTest(level=level):
                if below is not None:
                    site.modify(below, posternPop3Access="allow")
                    self.soon(lambda: self.may_pop3("lena"), "the level below allows")
                dn = self.put(level, "posternPop3Access: prevent", member)
                self.soon(lambda: not self.may_pop3("lena"), f"{level} prevents")
                self.assertTrue(self.may_imap("lena"))
                site.modify(dn, posternPop3Access="inherit")
                self.soon(lambda: self.may_pop3("lena"), f"{level} inherits")
                site.modify(dn, posternPop3Access="prevent")
                self.soon(lambda: not self.may_pop3("lena"), f"{level} prevents again")
                below = dn
        # two classes at one level: the more generous
        self.put("tie", "posternPop3Access: allow", f"posternMember: {site.user_dn('lena')}")
        self.soon(lambda: self.may_pop3("lena"), "the tie allows")

    def test_leaving_a_list(self):
        site = self.site
        dn = self.user("mona")
        team = self.add(f"cn=team,ou=people,{site.suffix}", "objectClass: groupOfNames", "cn: team", f"member: {dn}", f"member: {site.user_dn('bob')}")
        self.put("team", "posternImap4Access: prevent", f"posternMember: {team}")
        self.soon(lambda: not self.may_imap("mona"), "the list prevents")
        site.modify(team, member=[site.user_dn("bob")])
        self.soon(lambda: self.may_imap("mona"), "mona has left the list")

    # --- limits
    def test_pop3_limits(self):
        site = self.site
        self.user("petra")
        for i in range(3):
            site.send(MESSAGE.format("a@elsewhere.example", "x" * 3000 + str(i)), to=["petra@example.org"])
        client = site.pop3_client("petra")
        self.assertEqual(client.stat()[0], 3)
        dn = self.put("pop", "posternPop3MaxMessages: 2", "posternPop3HighPerformanceSize: TRUE", f"posternMember: {site.user_dn('petra')}")

        def stat():
            other = site.pop3_client("petra")
            try:
                return other.stat()
            finally:
                other.quit()
        self.soon(lambda: stat() == (2, 2048), "the limits of a new session")
        self.assertEqual(client.stat()[0], 3)      # a listing stays as it is (RFC 1939)
        client.quit()
        # plain RFC 822, unless the client asks for MIME
        site.send("From: a@elsewhere.example\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhello\r\n", to=["petra@example.org"])
        site.modify(dn, posternPop3MaxMessages="1", posternPop3HighPerformanceSize=None, posternPop3ConvertToMime="FALSE")

        def newest(name):
            other = site.pop3_client(name)
            lines = other.retr(other.stat()[0])[1]
            other.quit()
            return b"\n".join(lines)
        self.soon(lambda: b"MIME-Version" not in newest("petra"), "plain messages")
        self.assertIn(b"hello", newest("petra"))
        self.assertIn(b"MIME-Version", newest("petra:m"))
        # deleted, at QUIT, to Trash
        site.modify(dn, posternPop3MaxMessages=None, posternPop3DeleteAfterDownload="TRUE")

        def is_emptied():
            newest("petra")
            return stat()[0] < 4
        self.soon(is_emptied, "removal after download")
        imap = site.imap_client("petra")
        self.assertEqual(imap.select("Trash")[0], "OK")
        imap.logout()

    def test_imap_limits(self):
        site = self.site
        self.user("ingo")
        first = site.imap_client("ingo")
        dn = self.put("imap", "posternImap4UserConnections: 2", "posternImap4UserAppendSize: 1000", f"posternMember: {site.user_dn('ingo')}")
        self.soon(lambda: first.append("INBOX", None, None, b"x" * 1001)[0] == "NO", "the new limit in an old session")
        self.assertEqual(first.append("INBOX", None, None, b"x" * 900)[0], "OK")
        second = site.imap_client("ingo")
        self.assertIn("APPENDLIMIT=1000", second.capability()[1][0].decode())
        with self.assertRaises(imaplib.IMAP4.error) as heard:
            site.imap_client("ingo")
        self.assertIn("Too many", str(heard.exception))
        self.assertTrue(self.may_pop3("ingo"))
        self.assertTrue(self.may_imap("bob"))
        first.logout()
        self.soon(lambda: self.may_imap("ingo"), "the place of a session that ended")
        third = site.imap_client("ingo")
        site.modify(dn, posternImap4UserConnections="3")
        self.soon(lambda: self.may_imap("ingo"), "the new number")
        second.logout()
        third.logout()

    def test_smtp_sizes(self):
        site = self.site
        self.user("sven")
        self.put("sizes", "posternSmtpIncomingMaxSize: 2000", "posternSmtpOutgoingMaxSize: 3000", f"posternMember: {site.user_dn('sven')}")
        self.soon(lambda: self.rcpt("a@b.example", "sven@example.org", size=2001) == 552, "the incoming limit")
        self.assertEqual(self.rcpt("a@b.example", "sven@example.org", size=2000), 250)
        self.assertEqual(self.rcpt("a@b.example", "bob@example.org", size=2001), 250)
        with self.smtp() as client:
            client.mail("a@b.example")
            self.assertEqual(client.rcpt("bob@example.org")[0], 250)
            self.assertEqual(client.rcpt("sven@example.org")[0], 452)
        with self.smtp() as client:
            client.mail("a@b.example")
            self.assertEqual(client.rcpt("sven@example.org")[0], 250)
            self.assertEqual(client.data("x" * 2500)[0], 552)
        self.assertEqual(self.rcpt("sven@example.org", "x@y.example", user="sven", size=3001), 552)
        self.assertEqual(self.rcpt("sven@example.org", "x@y.example", user="sven", size=3000), 250)

    def test_smtp_exceptions(self):
        site = self.site
        self.user("erna")
        member = f"posternMember: {site.user_dn('erna')}"
        dn = self.put("exceptions", "posternSmtpIncomingAccess: allow", "posternSmtpIncomingException: *@spam.example",
                      "posternSmtpIncomingException: *.bulk.example", "posternSmtpOutgoingAccess: prevent",
                      "posternSmtpOutgoingException: *@partner.example", member)
        self.soon(lambda: self.rcpt("a@spam.example", "erna@example.org") == 550, "the exception")
        self.assertEqual(self.rcpt("a@spam.example", "bob@example.org"), 250)
        self.assertEqual(self.rcpt("a@mx.bulk.example", "erna@example.org"), 550)
        self.assertEqual(self.rcpt("a@bulk.example", "erna@example.org"), 250)
        self.assertEqual(self.rcpt("erna@example.org", "x@partner.example", user="erna"), 250)
        self.assertEqual(self.rcpt("erna@example.org", "x@other.example", user="erna"), 550)
        self.assertEqual(self.rcpt("erna@example.org", "bob@example.org", user="erna"), 250)
        site.modify(dn, posternSmtpIncomingAccess="prevent")
        self.soon(lambda: self.rcpt("a@good.example", "erna@example.org") == 550, "prevention")
        self.assertEqual(self.rcpt("a@spam.example", "erna@example.org"), 250)
        site.modify(dn, posternSmtpIncomingException="127.0.0.0-1")
        self.soon(lambda: self.rcpt("a@good.example", "erna@example.org") == 250, "the client's address as an exception")
        # a fault: the last valid version stays in force
        site.modify(dn, posternSmtpIncomingException="127.0.0.300")
        poll(lambda: "127.0.0.300" in site.log(), what="the fault in the log")
        self.assertEqual(self.rcpt("a@good.example", "erna@example.org"), 250)

    def test_exceptions_of_everyone(self):
        """What nobody takes is turned away when the client connects, or at MAIL."""
        site = self.site
        dn = self.put("everyone", "posternDefaultClass: TRUE", "posternSmtpIncomingAccess: allow", "posternSmtpIncomingException: nobody@spam.example")
        self.soon(lambda: self.rcpt("nobody@spam.example", "bob@example.org") == 550, "refusal at MAIL")
        with self.smtp() as client:
            self.assertEqual(client.mail("nobody@spam.example")[0], 550)
            self.assertEqual(client.mail("somebody@spam.example")[0], 250)
        site.modify(dn, posternSmtpIncomingException="127.0.0.*")

        def greeting(port):
            s, reader, line = site.raw(port)
            reader.close()
            s.close()
            return line[:4]
        self.soon(lambda: greeting(site.smtp) == b"554 ", "refusal at the greeting")
        self.assertEqual(greeting(site.submission), b"220 ")

    def test_rules(self):
        site = self.site
        self.user("rudi")
        forward, reply = "Auto-Submitted: auto-forwarded\r\n", "Auto-Submitted: auto-replied\r\n"
        self.assertEqual(self.send("rudi", "rudi@example.org", "x@y.example", forward), 550)
        self.assertEqual(self.send("rudi", "rudi@example.org", "bob@example.org", forward), 250)
        self.assertEqual(self.send("rudi", "rudi@example.org", "x@y.example", reply), 250)
        self.put("rules", "posternSmtpOutgoingForwards: allow", "posternSmtpOutgoingReplies: prevent", f"posternMember: {site.user_dn('rudi')}")
        self.soon(lambda: self.send("rudi", "rudi@example.org", "x@y.example", forward) == 250, "forwards")
        self.assertEqual(self.send("rudi", "rudi@example.org", "x@y.example", reply), 550)
        self.assertEqual(self.send("rudi", "", "x@y.example"), 550)
        self.assertEqual(self.send("rudi", "rudi@example.org", "x@y.example"), 250)

    # --- revocation
    def idling(self, user):
        s, reader, _ = self.site.raw(self.site.imap)
        self.addCleanup(s.close)
        s.sendall(f"a LOGIN {user} {self.site.env['POSTERN_PASSWORD']}\r\nb SELECT INBOX\r\nc IDLE\r\n".encode())
        while not reader.readline().startswith(b"+"):
            pass
        return s, reader

    def revoke(self, user, edit, words):
        """Sessions of the user in every protocol hear the words of the edit's end in time; another user's do not."""
        site = self.site
        idle, idle_reader = self.idling(user)
        imap = site.imap_client(user)
        pop3 = site.pop3_client(user)
        smtp = self.smtp(user)
        smtp.mail(f"{user}@example.org")
        smtp.rcpt("bob@example.org")
        other = site.imap_client("bob")
        other_pop3 = site.pop3_client("alice")
        edit()
        began = time.monotonic()
        heard = {"idle": idle_reader.readline(), "imap": imap.readline(), "pop3": pop3.file.readline(), "smtp": smtp.getreply()}
        took = time.monotonic() - began
        self.assertIn(words, heard["idle"])
        self.assertTrue(heard["idle"].startswith(b"* BYE"), heard)
        self.assertTrue(heard["imap"].startswith(b"* BYE"), heard)
        self.assertTrue(heard["pop3"].startswith(b"-ERR [SYS/"), heard)
        self.assertEqual(heard["smtp"][0], 421, heard)
        self.assertEqual(idle_reader.readline(), b"")
        self.times.append(took)
        self.assertEqual(other.noop()[0], "OK")
        self.assertEqual(other_pop3.stat()[0] >= 0, True)
        other.logout()
        other_pop3.quit()

    def test_class_edit_ends_sessions(self):
        site = self.site
        self.user("vera")
        dn = self.put("revoked", f"posternMember: {site.user_dn('vera')}")
        self.revoke("vera", lambda: site.modify(dn, posternPop3Access="prevent", posternImap4Access="prevent", posternSmtpIncomingAccess="prevent",
                                                posternSmtpOutgoingAccess="prevent"), b"revoked")
        self.assertFalse(self.may_imap("vera"))
        site.modify(dn, posternPop3Access="allow", posternImap4Access="allow", posternSmtpIncomingAccess="allow", posternSmtpOutgoingAccess="allow")
        self.soon(lambda: self.may_imap("vera"), "the right is given back")

    def test_one_service_only(self):
        site = self.site
        self.user("olga")
        pop3, imap = site.pop3_client("olga"), site.imap_client("olga")
        self.put("pop3only", "posternImap4Access: prevent", f"posternMember: {site.user_dn('olga')}")
        self.assertTrue(imap.readline().startswith(b"* BYE"))
        self.assertEqual(pop3.stat()[0], 0)
        pop3.quit()

    def test_disabled_user(self):
        dn = self.user("dora")
        self.revoke("dora", lambda: self.site.modify(dn, posternDisabled="TRUE"), b"revoked")

    def test_deleted_user(self):
        dn = self.user("doro")
        self.revoke("doro", lambda: self.site.ldap("ldapdelete", dn), b"revoked")

    def test_expired_user(self):
        dn = self.user("exa")
        imap = self.site.imap_client("exa")
        when = int(time.time()) + 6
        self.site.modify(dn, posternExpirationTime=time.strftime("%Y%m%d%H%M%SZ", time.gmtime(when)))
        self.assertEqual(imap.noop()[0], "OK")
        self.assertTrue(imap.readline().startswith(b"* BYE"))
        self.assertGreaterEqual(time.time(), when)
        self.times.append(time.time() - when - 1)

    def test_membership(self):
        site = self.site
        dn = self.user("lisa")
        team = self.add(f"cn=banned,ou=people,{site.suffix}", "objectClass: groupOfNames", "cn: banned", f"member: {site.suffix}")
        self.put("banned", "posternPop3Access: prevent", "posternImap4Access: prevent", "posternSmtpIncomingAccess: prevent",
                 "posternSmtpOutgoingAccess: prevent", f"posternMember: {team}")
        self.revoke("lisa", lambda: site.modify(team, member=[site.suffix, dn]), b"revoked")

    def test_moved_mailbox(self):
        site = self.site
        dn = self.user("mira")
        imap = site.imap_client("mira")
        site.modify(dn, posternPostOffice=f"cn=Research,ou=mail,{site.suffix}")
        self.assertIn(b"moved", imap.readline())
        self.assertTrue(self.may_imap("mira"))

    def test_other_edits_leave_sessions_alone(self):
        """A change of limits, and of what does not concern a user, ends nobody's session."""
        site = self.site
        dn = self.user("nora")
        idle, reader = self.idling("nora")
        pop3 = site.pop3_client("nora")
        smtp = self.smtp("nora")
        site.modify(dn, description="busy", posternMailAlias="n@example.org")
        self.put("limits", "posternPop3Days: 3", "posternSmtpOutgoingMaxSize: 1000", f"posternMember: {dn}")
        self.soon(lambda: smtp.docmd("EHLO", "c")[1].decode().find("SIZE 1000") > 0, "the new limit in an old session")

        def may_send_as_alias():
            code = smtp.mail("n@example.org")[0]
            smtp.rset()
            return code == 250
        self.soon(may_send_as_alias, "the new address in an old session")
        self.assertEqual(pop3.stat()[0], 0)
        idle.sendall(b"DONE\r\n")
        self.assertTrue(reader.readline().startswith(b"c OK"))

    def test_fetch_is_cut_cleanly(self):
        """A session in the middle of a literal ends, and nothing is said within the literal."""
        site = self.site
        self.user("fred")
        imap = site.imap_client("fred")
        body = b"Subject: big\r\n\r\n" + b"0123456789abcdef0123456789abcdef\r\n" * 600000
        imap.append("INBOX", None, None, body)
        imap.logout()
        s, reader, _ = site.raw(site.imap)
        s.sendall(f"a LOGIN fred {site.env['POSTERN_PASSWORD']}\r\nb SELECT INBOX\r\nc FETCH 1 BODY.PEEK[]\r\n".encode())
        while not (line := reader.readline()).startswith(b"* 1 FETCH"):
            pass
        size = int(re.search(rb"\{(\d+)\}", line).group(1))
        self.put("cut", "posternImap4Access: prevent", f"posternMember: {site.user_dn('fred')}")
        # the end comes by itself: the client reads what is on its way and then nothing
        poll(lambda: re.search(r"of fred from \S+ ends: access revoked", site.log()), what="the end in the log")
        got = reader.read()
        self.assertLess(len(got), size)
        self.assertNotIn(b"BYE", got)
        s.close()

    def test_delivery_is_finished(self):
        """A message that is on its way when the right goes is either accepted, and then there, or not."""
        site = self.site
        self.user("dana")
        self.user("dest")
        with self.smtp("dana") as client:
            client.mail("dana@example.org")
            client.rcpt("dest@example.org")
            client.putcmd("data")
            client.getreply()
            client.send(b"From: dana@example.org\r\nSubject: half\r\n\r\n")
            self.put("mail", "posternSmtpIncomingAccess: prevent", "posternSmtpOutgoingAccess: prevent", f"posternMember: {site.user_dn('dana')}")
            self.assertEqual(client.getreply()[0], 421)
        imap = site.imap_client("dest")
        self.assertEqual(imap.select()[1], [b"0"])
        imap.logout()

    def test_many_sessions(self):
        """A class edit with 500 sessions of ten users connected: five lose IMAP, the others hear nothing."""
        site = self.site
        users = [f"many{i}" for i in range(10)]
        for user in users:
            self.user(user)
        sessions = []
        for i in range(500):
            s, reader, _ = site.raw(site.imap)
            self.addCleanup(s.close)
            s.sendall(f"a LOGIN {users[i % 10]} {site.env['POSTERN_PASSWORD']}\r\nb IDLE\r\n".encode())
            sessions.append((i % 10, s, reader))
        for _, _, reader in sessions:
            while not reader.readline().startswith(b"+"):
                pass
        dn = self.put("many", *(f"posternMember: {site.user_dn(user)}" for user in users[:5]))
        asked = time.monotonic()
        site.modify(dn, posternImap4Access="prevent")
        began = time.monotonic()
        for number, _, reader in sessions:
            if number < 5:
                self.assertTrue(reader.readline().startswith(b"* BYE Access was revoked"))
        ended = time.monotonic()
        took = ended - began
        print(f"time of the last of 250 farewells, 500 sessions connected: {(ended - asked) * 1000:.0f} ms after ldapmodify was started, "
              f"{took * 1000:.0f} ms after it had ended", flush=True)
        self.times.append(took)
        for number, s, reader in sessions:
            if number >= 5:
                s.sendall(b"DONE\r\n")
                self.assertTrue(reader.readline().startswith(b"b OK"))


if __name__ == "__main__":
    main()
