#!/usr/bin/env python3
"""Ordinary clients against a whole site: Python's libraries, curl, mbsync, offlineimap, getmail, fetchmail, mutt, Thunderbird, msmtp and swaks read, send and change mail."""
import email
import email.policy
import imaplib
import os
import poplib
import shutil
import signal
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

    def run_client(self, command, check=True, timeout=120, **more):
        """Runs a program; its output."""
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, **more)
        if check:
            self.assertEqual(done.returncode, 0, done.stdout.decode(errors="replace")[-4000:])
        return done.stdout.decode(errors="replace")

    def home(self, name):
        home = os.path.join(self.site.dir, "home-" + name)
        os.makedirs(home)
        return home, {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_DATA_HOME": home, "XDG_CACHE_HOME": home}

    def test_fetchmail_idle(self):
        """fetchmail waits in IDLE and brings what comes, by IMAP with STARTTLS."""
        need("fetchmail")
        site = self.site
        site.add_user("fidle")
        home, env = self.home("fidle")
        rc = os.path.join(home, "rc")
        with open(rc, "w") as file:
            file.write(f'poll localhost protocol imap port {site.imap} user "fidle" password "secret" sslproto "auto" sslcertfile "{site.env["POSTERN_CA_FILE"]}"\n'
                       f'  mda "cat >> {home}/out" idle keep\n')
        os.chmod(rc, 0o600)
        with open(f"{home}/log", "w") as log:
            process = subprocess.Popen(["fetchmail", "-v", "-f", rc, "--nosyslog", "--nodetach", "--pidfile", f"{home}/pid"],
                                       stdout=log, stderr=subprocess.STDOUT, env={**env, "FETCHMAILHOME": home})

        def text(name):
            try:
                with open(os.path.join(home, name)) as file:
                    return file.read()
            except FileNotFoundError:
                return ""
        try:
            for number in range(3):
                poll(lambda: text("log").count(" IDLE") > number and text("log").rstrip().endswith("+ idling"), what="fetchmail's IDLE")
                site.send(MESSAGE % b"idle %d" % number, to=("fidle@example.org",))
                poll(lambda: f"Subject: idle {number}" in text("out"), what="the message")
            self.assertIn("STARTTLS", text("log"))
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{text('log')[-3000:]}")
        finally:
            process.terminate()
            process.wait()

    def test_msmtp(self):
        need("msmtp")
        site = self.site
        site.add_user("msm")
        home, env = self.home("msm")
        for name, port, starttls in (("starttls", site.submission, "on"), ("tls", site.submissions, "off")):
            rc = os.path.join(home, "rc-" + name)
            with open(rc, "w") as file:
                file.write(f"account default\nhost localhost\nport {port}\ntls on\ntls_starttls {starttls}\ntls_trust_file {site.env['POSTERN_CA_FILE']}\n"
                           "auth on\nuser msm\npassword secret\nfrom msm@example.org\n")
            os.chmod(rc, 0o600)
            for auth in ("plain", "login"):
                self.run_client(["msmtp", "-C", rc, f"--auth={auth}", "msm@example.org"], env=env,
                                input=f"From: msm@example.org\nSubject: {name} {auth}\n\n.dot\n".encode())
            out = self.run_client(["msmtp", "-C", rc, "nobody@example.org"], check=False, env=env, input=b"Subject: x\n\nx\n")
            self.assertIn("5.1.1", out)
            self.assertIn("SIZE", self.run_client(["msmtp", "-C", rc, "--serverinfo"], env=env))
        imap = site.imap_client("msm")
        self.assertEqual(imap.select()[1], [b"4"])
        self.assertTrue(imap.fetch("4", "(BODY.PEEK[TEXT])")[1][0][1].endswith(b".dot\r\n"))
        imap.logout()

    def test_getmail(self):
        need("getmail")
        site = self.site
        site.add_user("get")
        for number in range(3):
            self.deliver("get", f"getmail {number}")
        home, env = self.home("get")
        for name, retriever, port in (("imap", "SimpleIMAPRetriever", site.imap), ("pop3", "SimplePOP3Retriever", site.pop3),
                                      ("pop3s", "SimplePOP3SSLRetriever", site.pop3s)):
            out = os.path.join(home, name + ".out")
            ssl_options = f"ca_certs = {site.env['POSTERN_CA_FILE']}\n" if name.endswith("s") else ""
            with open(os.path.join(home, "rc-" + name), "w") as file:
                file.write(f"[retriever]\ntype = {retriever}\nserver = localhost\nport = {port}\nusername = get\npassword = secret\n{ssl_options}"
                           f"[destination]\ntype = MDA_external\npath = /usr/bin/tee\narguments = ('-a', '{out}')\nallow_root_commands = true\n[options]\nread_all = false\ndelete = {'true' if name == 'pop3s' else 'false'}\n")
            command = ["getmail", "--getmaildir", home, "--rcfile", "rc-" + name]
            for _ in range(2):      # the second time nothing is new: it knows them by UIDL or UID
                self.run_client(command, env=env)
                with open(out) as file:
                    self.assertEqual(file.read().count("Subject: getmail"), 3)
        client = site.pop3_client("get")
        self.assertEqual(client.stat()[0], 0)
        client.quit()

    def test_offlineimap(self):
        need("offlineimap")
        site = self.site
        site.add_user("off")
        for number in range(3):
            self.deliver("off", f"offline {number}")
        imap = site.imap_client("off")
        imap.create("Caf&AOk-")
        imap.append("Caf&AOk-", "(\\Seen \\Flagged)", None, MESSAGE % b"in a folder")
        imap.logout()
        home, env = self.home("off")
        rc = os.path.join(home, "rc")
        with open(rc, "w") as file:
            file.write(f"[general]\naccounts = a\nmetadata = {home}/meta\nui = basic\n[Account a]\nlocalrepository = near\nremoterepository = far\n"
                       f"[Repository near]\ntype = Maildir\nlocalfolders = {home}/mail\n[Repository far]\ntype = IMAP\nremotehost = localhost\n"
                       f"remoteport = {site.imaps}\nssl = yes\nsslcacertfile = {site.env['POSTERN_CA_FILE']}\nremoteuser = off\nremotepass = secret\n")
        command = ["offlineimap", "-o", "-c", rc]
        self.run_client(command, env=env)
        inbox = os.path.join(home, "mail", "INBOX")

        def messages():
            return [os.path.join(inbox, sub, name) for sub in ("cur", "new") for name in os.listdir(os.path.join(inbox, sub))]
        self.assertEqual(len(messages()), 3)
        self.assertEqual(len(os.listdir(os.path.join(home, "mail", "Caf&AOk-", "cur"))), 1)
        os.remove(messages()[0])
        first = messages()[0]
        os.rename(first, os.path.join(inbox, "cur", os.path.basename(first).split(":")[0] + ":2,FS"))
        with open(os.path.join(inbox, "new", "1700000000.local.x"), "wb") as file:
            file.write(b"From: off@example.org\nSubject: pushed\n\nup\n")
        self.run_client(command, env=env)
        self.run_client(command, env=env)
        self.assertEqual(len(messages()), 3)
        imap = site.imap_client("off")
        imap.select()
        self.assertEqual(len(imap.search(None, "ALL")[1][0].split()), 3)
        self.assertEqual(len(imap.search(None, "SUBJECT pushed")[1][0].split()), 1)
        self.assertEqual(len(imap.search(None, "FLAGGED SEEN SUBJECT offline")[1][0].split()), 1)
        imap.logout()

    def test_mutt(self):
        """mutt without a terminal: keys come from its configuration."""
        need("mutt")
        site = self.site
        site.add_user("mutt")
        for number in range(3):
            self.deliver("mutt", f"mutt {number}")
        home, env = self.home("mutt")
        rc = os.path.join(home, "rc")
        with open(rc, "w") as file:
            file.write(f'set folder="imap://mutt@localhost:{site.imap}/"\nset spoolfile="+INBOX"\nset imap_pass="secret"\nset smtp_pass="secret"\n'
                       f'set smtp_url="smtp://mutt@localhost:{site.submission}/"\nset from="mutt@example.org"\nset use_from=yes\n'
                       f'set ssl_starttls=yes\nset ssl_force_tls=yes\nset certificate_file="{site.env["POSTERN_CA_FILE"]}"\nset ssl_verify_host=no\n'
                       f'set header_cache=""\nset copy=yes\nset record="+Sent"\nset mail_check=1\nset delete=yes\nset confirmappend=no\nset confirmcreate=no\n'
                       "set wait_key=no\nset move=no\nset quit=yes\nset sort=threads\nset imap_idle=yes\n")
        with open(os.path.join(home, "body"), "w") as file:
            file.write("written in mutt\n.\n")
        # Sending and the copy in Sent, which mutt makes by APPEND.
        self.run_client(["mutt", "-F", rc, "-s", "by mutt", "mutt@example.org"], env={**env, "TERM": "dumb"}, stdin=open(os.path.join(home, "body")))
        imap = site.imap_client("mutt")
        imap.select()
        poll(lambda: imap.noop() and len(imap.search(None, 'SUBJECT "by mutt"')[1][0].split()) == 1, what="the message in INBOX")
        self.assertEqual(imap.select("Sent")[1], [b"1"])
        self.assertIn(b"\\Seen", imap.fetch("1", "(FLAGS)")[1][0])
        # Reading: delete the first, flag the second, save the third to a new folder, sync, quit.
        keys = "<first-entry><delete-message><jump>2<enter><flag-message><jump>3<enter><save-message>=Kept<enter><sync-mailbox><quit>"
        out = self.run_client(["script", "-qec", f"mutt -F {rc} -e 'push {keys}'", "/dev/null"], env={**env, "TERM": "xterm"}, stdin=subprocess.DEVNULL, timeout=60)
        imap.select()
        left = [imap.search(None, key)[1][0].split() for key in ("ALL", 'SUBJECT "mutt 0"', 'FLAGGED SUBJECT "mutt 1"', 'SUBJECT "mutt 2"')]
        self.assertEqual([len(found) for found in left], [2, 0, 1, 0], out[-2000:])
        self.assertEqual(imap.select("Kept")[1], [b"1"])
        imap.logout()

    def test_curl_commands(self):
        """curl's own ways: EXAMINE, SEARCH, sections, APPEND by upload, POP3's TOP and UIDL, an SMTP upload to two recipients."""
        need("curl")
        site = self.site
        site.add_user("curl2")
        uid = self.deliver("curl2", "curl two")
        curl = ["curl", "-sS", "--cacert", site.env["POSTERN_CA_FILE"], "-u", "curl2:secret"]
        far = f"imaps://localhost:{site.imaps}/INBOX"
        self.assertIn(f"* SEARCH {uid}", self.run_client([*curl, f"{far}?UID%20SEARCH%20SUBJECT%20two", "-X", "UID SEARCH SUBJECT two"]))
        self.assertIn("Hello.", self.run_client([*curl, f"{far};UID={uid};SECTION=TEXT"]))
        upload = os.path.join(site.dir, "upload")
        with open(upload, "wb") as file:
            file.write(MESSAGE % b"uploaded")
        self.run_client([*curl, "-T", upload, far])
        self.assertIn("2 EXISTS", self.run_client([*curl, "-X", "EXAMINE INBOX", f"imaps://localhost:{site.imaps}/"]))
        self.assertIn("Subject: uploaded", self.run_client([*curl, "-X", "TOP 2", f"pop3://localhost:{site.pop3}/0", "--ssl-reqd"]))
        self.assertEqual(self.run_client([*curl, "-X", "UIDL", f"pop3s://localhost:{site.pop3s}/"]).count("\n"), 2)
        out = self.run_client([*curl, "--login-options", "AUTH=LOGIN", f"pop3s://localhost:{site.pop3s}/"])
        self.assertEqual(len(out.split("\n")), 3)
        with open(upload, "wb") as file:
            file.write(b"From: curl2@example.org\r\nSubject: two of them\r\n\r\n.x\r\n")
        self.run_client([*curl, "--ssl-reqd", "--mail-from", "curl2@example.org", "--mail-rcpt", "curl2@example.org", "--mail-rcpt", "alice@example.org",
                         "--login-options", "AUTH=LOGIN", "-T", upload, f"smtp://localhost:{site.submission}"])

    def test_thunderbird(self):
        """Thunderbird without a screen: opens the account, reads all messages, waits in IDLE and fetches what comes."""
        need("thunderbird")
        site = self.site
        site.add_user("tb")
        uids = [self.deliver("tb", f"bird {number}") for number in range(3)]
        home, env = self.home("tb")
        app, profile, log = (os.path.join(home, name) for name in ("app", "profile", "log"))
        os.mkdir(profile)
        # An application directory of its own, where a configuration file may stand that knows the password.
        installed = "/usr/lib/thunderbird"
        os.mkdir(app)
        for name in os.listdir(installed):
            if name not in ("defaults", "thunderbird", "thunderbird-bin"):
                os.symlink(os.path.realpath(os.path.join(installed, name)), os.path.join(app, name))
        shutil.copy(os.path.join(installed, "thunderbird-bin"), app)
        shutil.copytree(os.path.join(installed, "defaults"), os.path.join(app, "defaults"))
        os.makedirs(os.path.join(app, "defaults", "pref"), exist_ok=True)
        with open(os.path.join(app, "defaults", "pref", "own.js"), "w") as file:
            file.write('pref("general.config.filename", "own.cfg");\npref("general.config.obscure_value", 0);\npref("general.config.sandbox_enabled", false);\n')
        with open(os.path.join(app, "own.cfg"), "w") as file:
            file.write('//\nServices.obs.addObserver({observe: function() {\n'
                       '  var login = Cc["@mozilla.org/login-manager/loginInfo;1"].createInstance(Ci.nsILoginInfo);\n'
                       '  login.init("imap://localhost", null, "imap://localhost", "tb", "secret", "", "");\n'
                       '  Services.logins.addLoginAsync(login);\n}}, "profile-after-change");\n')
        server = {"type": "imap", "hostname": "localhost", "port": site.imap, "userName": "tb", "name": "tb", "socketType": 0, "authMethod": 3,
                  "login_at_startup": True, "check_new_mail": True, "use_idle": True, "offline_download": True, "autosync_offline_stores": True}
        settings = {"mail.accountmanager.accounts": "account1", "mail.accountmanager.defaultaccount": "account1", "mail.account.account1.server": "server1",
                    "mail.account.account1.identities": "id1", "mail.identity.id1.useremail": "tb@example.org", "mail.identity.id1.valid": True,
                    "mail.startup.enabledMailCheckOnce": True, "mailnews.start_page.enabled": False, "mail.shell.checkDefaultClient": False,
                    "mail.rights.version": 1, "datareporting.policy.dataSubmissionEnabled": False, "app.update.enabled": False,
                    "network.captive-portal-service.enabled": False, **{f"mail.server.server1.{name}": value for name, value in server.items()}}
        with open(os.path.join(profile, "prefs.js"), "w") as file:
            for name, value in settings.items():
                text = str(value).lower() if isinstance(value, bool) else value if isinstance(value, int) else f'"{value}"'
                file.write(f'user_pref("{name}", {text});\n')
        env = {name: value for name, value in env.items() if name != "DISPLAY"}
        with open(os.path.join(home, "out"), "w") as out:
            process = subprocess.Popen([os.path.join(app, "thunderbird-bin"), "--headless", "--no-remote", "--profile", profile, "-mail"], stdout=out,
                                       stderr=subprocess.STDOUT, start_new_session=True,
                                       env={**env, "MOZ_HEADLESS": "1", "MOZ_LOG": "sync,IMAP:5", "MOZ_LOG_FILE": log})

        def text(path):
            try:
                with open(path, errors="replace") as file:
                    return file.read()
            except FileNotFoundError:
                return ""

        def came():
            # what it has read; when its own copies reach the disk is its own affair
            return text(log + ".moz_log")
        try:
            poll(lambda: all(f"CreateNewLineFromSocket: Subject: bird {number}" in came() for number in range(3)), 120, "Thunderbird's reading")
            poll(lambda: "+ idling" in text(log + ".moz_log"), what="Thunderbird's IDLE")
            self.deliver("tb", "bird late")
            poll(lambda: "CreateNewLineFromSocket: Subject: bird late" in came(), what="the late one")
            self.assertNotRegex(text(log + ".moz_log"), r"CreateNewLineFromSocket: \d+ (NO|BAD)")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{text(os.path.join(home, 'out'))[-1000:]}\n{text(log + '.moz_log')[-3000:]}")
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.assertEqual(len(uids), 3)

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
