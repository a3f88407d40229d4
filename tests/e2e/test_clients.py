#!/usr/bin/env python3
"""Ordinary clients against a whole site: Python's libraries, curl, mbsync, fetchmail and swaks read, send and change mail."""
import email
import email.policy
import imaplib
import os
import poplib
import shutil
import smtplib
import subprocess
import unittest

from harness import Site, main, poll

MESSAGE = b"From: someone@elsewhere.example\r\nTo: alice@example.org\r\nSubject: %s\r\n\r\nHello.\r\n.dot\r\n\r\nend\r\n"


def need(program):
    if shutil.which(program) is None:
        raise AssertionError(f"{program} is required and not installed")


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site()

    @classmethod
    def tearDownClass(cls):
        cls.site.close()

    def deliver(self, user, subject):
        """One message, delivered: returns its UID."""
        site = self.site
        site.send(MESSAGE % subject.encode(), to=(f"{user}@example.org",))
        client = site.imap_client(user)
        client.select()
        found = client.uid("SEARCH", "SUBJECT", f'"{subject}"')[1][0].split()
        client.logout()
        self.assertEqual(len(found), 1)
        return int(found[0])

    def test_pop3_session(self):
        site = self.site
        site.add_user("pat")
        for number in range(3):
            self.deliver("pat", f"pop {number}")
        client = site.pop3_client("pat")
        self.assertIn("UIDL", client.capa())
        count, octets = client.stat()
        self.assertEqual(count, 3)
        sizes = [int(line.split()[1]) for line in client.list()[1]]
        self.assertEqual(sum(sizes), octets)
        uidls = [line.split()[1] for line in client.uidl()[1]]
        self.assertEqual(len(set(uidls)), 3)
        response, lines, _ = client.retr(2)
        self.assertEqual(sum(len(line) + 2 for line in lines), sizes[1])
        self.assertIn(b".dot", lines)
        self.assertEqual(client.top(1, 1)[1][-1], b"Hello.")
        client.dele(1)
        client.quit()
        client = site.pop3_client("pat")
        self.assertEqual([line.split()[1] for line in client.uidl()[1]], uidls[1:])
        client.dele(1)
        client.rset()
        client.quit()
        client = site.pop3_client("pat")
        self.assertEqual(client.stat()[0], 2)
        client.close()

    def test_pop3_login_options(self):
        site = self.site
        site.add_user("opt")
        for number in range(4):
            self.deliver("opt", f"opt {number}")
        client = site.pop3_client("opt:v=1l=2")
        self.assertEqual(client.stat()[0], 2)
        client.retr(1)
        client.quit()
        client = site.pop3_client("opt:v=1")
        self.assertEqual(client.stat()[0], 3)
        client.quit()
        client = site.pop3_client("opt:V=2S")
        self.assertEqual(client.stat(), (4, 4096))
        client.quit()
        client = site.pop3_client(login=False)
        with self.assertRaises(poplib.error_proto):
            client.user("opt:v=32")
        client.close()
        client = site.pop3_client("opt:d")
        client.retr(1)
        client.quit()
        imap = site.imap_client("opt")
        self.assertEqual(imap.select("Trash")[1], [b"1"])
        self.assertEqual(imap.select("INBOX")[1], [b"3"])
        imap.logout()

    def test_pop3_tls(self):
        site = self.site
        client = site.pop3_client(login=False)
        client.stls(context=site.tls())
        client.user("alice")
        client.pass_("secret")
        client.quit()
        client = site.pop3_client(tls=True)
        client.quit()

    def test_imap_session(self):
        site = self.site
        site.add_user("ida")
        uids = [self.deliver("ida", f"imap {number}") for number in range(3)]
        self.assertEqual(uids, sorted(uids))
        a = site.imap_client("ida", login=False)
        self.assertIn("SASL-IR", a.capabilities)
        a.login("ida", "secret")
        offered = a.capability()[1][0].decode().upper().split()
        for word in ("IMAP4REV1", "IDLE", "NAMESPACE", "UIDPLUS", "LITERAL+", "ID", "ENABLE", "UNSELECT", "CHILDREN",
                     "SPECIAL-USE", "MOVE", "STATUS=SIZE"):
            self.assertIn(word, offered)
        self.assertEqual(a.select()[1], [b"3"])
        kind, data = a.uid("FETCH", str(uids[0]), "(FLAGS ENVELOPE BODYSTRUCTURE INTERNALDATE RFC822.SIZE BODY.PEEK[])")
        self.assertEqual(kind, "OK")
        self.assertTrue(data[0][1].endswith(b"\r\n\r\nHello.\r\n.dot\r\n\r\nend\r\n"))
        b = site.imap_client("ida")
        b.select()
        self.assertEqual(a.uid("STORE", str(uids[0]), "+FLAGS", "(\\Flagged $Work)")[0], "OK")
        b.noop()
        self.assertIn(b"$Work", b.response("FETCH")[1][-1])
        self.assertEqual(a.create("Archive")[0], "OK")
        self.assertEqual(a.uid("COPY", str(uids[1]), "Archive")[0], "OK")
        self.assertEqual(a._simple_command("UID", "MOVE", str(uids[2]), "Archive")[0], "OK")
        a.uid("STORE", str(uids[1]), "+FLAGS", "(\\Deleted)")
        self.assertEqual(a.expunge()[0], "OK")
        b.noop()
        self.assertEqual(b.uid("SEARCH", "ALL")[1][0].split(), [str(uids[0]).encode()])
        self.assertEqual(a.status("Archive", "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN SIZE)")[0], "OK")
        self.assertEqual(a.select("Archive")[1], [b"2"])
        kind, data = a.append("Archive", "(\\Seen)", '"01-Jan-2020 12:00:00 +0000"', MESSAGE % b"appended")
        self.assertEqual(kind, "OK")
        self.assertIn(b"APPENDUID", data[0])
        kind, data = a.fetch("3", "(INTERNALDATE FLAGS)")
        self.assertIn(b"01-Jan-2020 12:00:00 +0000", data[0])
        self.assertIn(b"\\Seen", data[0])
        self.assertEqual(a.rename("Archive", "Old.Archive")[0], "OK")
        names = [line.split(b' "." ')[1].strip(b'"') for line in a.list()[1]]
        self.assertIn(b"Old.Archive", names)
        self.assertEqual(a.subscribe("Old.Archive")[0], "OK")
        self.assertIn(b"Old.Archive", a.lsub()[1][-1])
        self.assertEqual(a.delete("Old.Archive")[0], "OK")
        a.logout()
        b.logout()

    def test_imap_idle_sees_delivery(self):
        site = self.site
        site.add_user("idle")
        client = site.imap_client("idle")
        client.select()
        client.send(b"x1 IDLE\r\n")
        self.assertTrue(client.readline().startswith(b"+"))
        box = site.maildir("idle")
        with open(os.path.join(box, "tmp", "1.foreign"), "wb") as file:
            file.write(b"Subject: foreign\n\nx\n")
        os.rename(os.path.join(box, "tmp", "1.foreign"), os.path.join(box, "new", "1.foreign"))
        line = client.readline()
        self.assertIn(b"1 EXISTS", line)
        client.send(b"DONE\r\n")
        while not client.readline().startswith(b"x1 OK"):
            pass
        client.logout()

    def test_imap_tls(self):
        site = self.site
        client = site.imap_client(login=False)
        client.starttls(site.tls())
        client.login("alice", "secret")
        client.logout()
        client = site.imap_client(tls=True)
        self.assertEqual(client.select()[0], "OK")
        client.logout()

    def test_login_refusals_are_one(self):
        site = self.site
        answers = set()
        for user, password in (("alice", "wrong"), ("nobody", "x"), ("carol@example.org", "x")):
            client = site.imap_client(login=False)
            with self.assertRaises(imaplib.IMAP4.error) as caught:
                client.login(user, password)
            answers.add(str(caught.exception))
            client.shutdown()
        self.assertEqual(len(answers), 1, answers)
        client = site.pop3_client(login=False)
        client.user("carol")     # class of service: no POP3
        with self.assertRaises(poplib.error_proto) as caught:
            client.pass_("secret")
        self.assertIn(b"[AUTH]", caught.exception.args[0])
        site.imap_client("carol").logout()

    def test_submission(self):
        site = self.site
        site.add_user("sue")
        client = site.smtp_client(site.submission)
        with self.assertRaises(smtplib.SMTPSenderRefused):
            client.sendmail("sue@example.org", ["alice@example.org"], MESSAGE % b"no login")
        client.starttls(context=site.tls())
        client.ehlo()
        client.login("sue", "secret")
        with self.assertRaises(smtplib.SMTPSenderRefused):
            client.sendmail("alice@example.org", ["sue@example.org"], MESSAGE % b"not mine")
        client.rset()
        message = b"From: Sue <sue@example.org>\r\nTo: sue@example.org\r\nSubject: mine\r\n\r\nx\r\n"
        self.assertEqual(client.sendmail("sue@example.org", ["sue@example.org"], message), {})
        client.quit()
        with smtplib.SMTP_SSL("localhost", site.submissions, context=site.tls(), timeout=30) as client:
            client.login("sue", "secret")
            client.sendmail("sue@example.org", ["sue@example.org"], message)
        imap = site.imap_client("sue")
        self.assertEqual(imap.select()[1], [b"2"])
        data = imap.fetch("1", "(BODY[])")[1][0][1]
        parsed = email.message_from_bytes(data, policy=email.policy.default)
        self.assertIn("with ESMTPSA", parsed["Received"])
        self.assertIsNotNone(parsed["Message-ID"])
        self.assertIsNotNone(parsed["Date"])
        imap.logout()

    def test_no_open_relay(self):
        with self.site.smtp_client() as client:
            with self.assertRaises(smtplib.SMTPRecipientsRefused) as caught:
                client.sendmail("a@elsewhere.example", ["b@elsewhere.example"], MESSAGE % b"relay")
            self.assertEqual(caught.exception.recipients["b@elsewhere.example"][0] // 100, 5)

    def test_curl(self):
        need("curl")
        site = self.site
        site.add_user("curly")
        uid = self.deliver("curly", "for curl")
        for url in (f"imap://127.0.0.1:{site.imap}/INBOX;UID={uid}", f"pop3://127.0.0.1:{site.pop3}/1",
                    f"imaps://localhost:{site.imaps}/INBOX;UID={uid}", f"pop3s://localhost:{site.pop3s}/1"):
            done = subprocess.run(["curl", "-sS", "--cacert", site.env["POSTERN_CA_FILE"], "-u", "curly:secret", url],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual(done.returncode, 0, done.stdout)
            self.assertIn(b"Subject: for curl", done.stdout)
        done = subprocess.run(["curl", "-sS", "--ssl-reqd", "--cacert", site.env["POSTERN_CA_FILE"], "-u", "curly:secret",
                               "--mail-from", "curly@example.org", "--mail-rcpt", "curly@example.org", "-T", "-",
                               f"smtp://localhost:{site.submission}"], input=b"From: curly@example.org\r\nSubject: by curl\r\n\r\nx\r\n",
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_mbsync(self):
        need("mbsync")
        site = self.site
        site.add_user("mb")
        for number in range(3):
            self.deliver("mb", f"mbsync {number}")
        home = os.path.join(site.dir, "mbsync")
        os.makedirs(os.path.join(home, "mail"))
        with open(os.path.join(home, "rc"), "w") as file:
            file.write(f"IMAPStore far\nHost 127.0.0.1\nPort {site.imap}\nUser mb\nPass secret\nSSLType None\nAuthMechs LOGIN\n\n"
                       f"MaildirStore near\nPath {home}/mail/\nInbox {home}/mail/INBOX\nSubFolders Verbatim\n\n"
                       "Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n")

        def sync():
            done = subprocess.run(["mbsync", "-c", os.path.join(home, "rc"), "-a"], stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, env={**os.environ, "HOME": home})
            self.assertEqual(done.returncode, 0, done.stdout)

        sync()
        inbox = os.path.join(home, "mail", "INBOX")
        files = [os.path.join(inbox, sub, name) for sub in ("cur", "new") for name in os.listdir(os.path.join(inbox, sub))]
        self.assertEqual(len(files), 3)
        os.remove(files[0])
        with open(os.path.join(inbox, "cur", "99.local:2,FS"), "wb") as file:
            file.write(b"Subject: pushed\n\nup\n")
        sync()
        imap = site.imap_client("mb")
        imap.select()
        self.assertEqual(len(imap.search(None, "ALL")[1][0].split()), 3)
        self.assertEqual(len(imap.search(None, "SUBJECT pushed FLAGGED SEEN")[1][0].split()), 1)
        imap.logout()

    def test_fetchmail(self):
        need("fetchmail")
        site = self.site
        site.add_user("fetch")
        for number in range(2):
            self.deliver("fetch", f"fetchmail {number}")
        home = os.path.join(site.dir, "fetchmail")
        os.makedirs(home)
        rc = os.path.join(home, "rc")
        with open(rc, "w") as file:
            file.write(f'poll 127.0.0.1 protocol pop3 port {site.pop3} user "fetch" password "secret" sslproto ""\n'
                       f'  mda "cat >> {home}/out" fetchall no keep\n')
        os.chmod(rc, 0o600)
        done = subprocess.run(["fetchmail", "-f", rc, "--nosyslog", "--pidfile", f"{home}/pid"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env={**os.environ, "HOME": home, "FETCHMAILHOME": home})
        self.assertEqual(done.returncode, 0, done.stdout)
        with open(f"{home}/out") as file:
            self.assertEqual(file.read().count("Subject: fetchmail"), 2)
        client = site.pop3_client("fetch")
        self.assertEqual(client.stat()[0], 0)
        client.quit()

    def test_swaks(self):
        need("swaks")
        site = self.site
        site.add_user("swan")
        done = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(site.submission), "--tls", "--auth", "PLAIN",
                               "--auth-user", "swan", "--auth-password", "secret", "--from", "swan@example.org", "--to",
                               "swan@example.org", "--helo", "client.example"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)

        def arrived():
            client = site.imap_client("swan")
            count = client.select()[1][0]
            client.logout()
            return count == b"1"
        poll(arrived)


if __name__ == "__main__":
    main()
