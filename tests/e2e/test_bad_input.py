#!/usr/bin/env python3
"""Bad input from clients and disks: a clear answer in the protocol's own terms, nothing lost, everybody else served."""
import imaplib
import os
import re
import signal
import smtplib
import socket
import struct
import subprocess
import time
import unittest

from harness import BUILD, Site, freeze, main, poll, uid_map

MESSAGE = b"From: a@elsewhere.example\r\nSubject: x\r\n\r\nHello.\r\n"


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # What AddressSanitizer keeps of freed memory would hide what the gateway itself needs.
        os.environ.setdefault("ASAN_OPTIONS", "quarantine_size_mb=4")
        cls.site = Site()

    @classmethod
    def tearDownClass(cls):
        crashed = "bug:" in cls.site.log() or "Sanitizer" in cls.site.log() or "runtime error" in cls.site.log()
        log = cls.site.log()
        cls.site.close()
        if crashed:
            raise AssertionError("the gateway's log speaks of a bug:\n" + log[-5000:])

    def setUp(self):
        self.agent = self.site.agent_pid()

    def tearDown(self):
        self.assertEqual(self.site.agent_pid(), self.agent, "the agent crashed:\n" + self.site.log()[-3000:])
        self.site.imap_client("alice").logout()

    def exchange(self, port, sent):
        """Sends bytes, closes the sending side, returns all that comes back."""
        s, reader, greeting = self.site.raw(port)
        s.settimeout(20)
        try:
            s.sendall(sent)
            s.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            return reader.read()
        except (ConnectionResetError, TimeoutError):
            return b""
        finally:
            s.close()

    def test_imap_rows(self):
        rows = (
            (b"\r\n", b"BAD"), (b"x\r\n", b"BAD"), (b"* NOOP\r\n", b"BAD"), (b"a NONSENSE\r\n", b"a BAD"),
            (b"a LOGIN alice\r\n", b"a BAD"), (b"a SELECT INBOX\r\n", b"a BAD"), (b"a LOGIN {5\r\n", b"BAD"),
            (b"a LOGIN {99999999999999999999}\r\n", b"BAD"), (b"a LOGIN {4294967295}\r\n", b"BAD"), (b"a AUTHENTICATE NTLM\r\n", b"a NO"),
            (b"a NOOP trailing\r\n", b"a BAD"), (b"a \x00NOOP\r\n", b"BAD"), (b"a LOGIN \"al\x00ice\" x\r\n", b"BAD"),
            (b"a " + b"x" * 100_000 + b"\r\n", b"BAD"), (b"a NOOP\n", b"a OK"), (b"a AUTHENTICATE PLAIN !!!\r\n", b"BAD"),
            (b"\xff\xfe\xfd\r\n" * 3, b"BAD"), (b"a IDLE\r\n", b"a BAD"), (b"a LOGIN \"alice secret\r\n", b"BAD"),
        )
        for sent, wanted in rows:
            with self.subTest(sent=sent[:40]):
                self.assertIn(wanted, self.exchange(self.site.imap, sent))

    def test_imap_rows_after_login(self):
        rows = (
            (b"b SELECT\r\n", b"b BAD"), (b"b SELECT nothere\r\n", b"b NO"), (b"b FETCH 1 FLAGS\r\n", b"b BAD"),
            (b"b CREATE a..b\r\n", b"b NO"), (b"b CREATE ../../x\r\n", b"b NO"), (b"b CREATE \"\"\r\n", b"b NO"), (b"b DELETE INBOX\r\n", b"b NO"),
            (b"b RENAME nothere x\r\n", b"b NO"), (b"b APPEND nothere {3+}\r\nabc\r\n", b"TRYCREATE"),
            (b"b APPEND INBOX {99999999999}\r\n", b"b "), (b"b STATUS INBOX (NONSENSE)\r\n", b"b BAD"),
            (b"b SELECT INBOX\r\nc FETCH 0 FLAGS\r\n", b"c BAD"), (b"b SELECT INBOX\r\nc FETCH 1:* (FLAGS\r\n", b"c BAD"),
            (b"b SELECT INBOX\r\nc FETCH 1 BODY[1.2\r\n", b"c BAD"), (b"b SELECT INBOX\r\nc SEARCH CHARSET KLINGON ALL\r\n", b"BADCHARSET"),
            (b"b SELECT INBOX\r\nc SEARCH (((((((\r\n", b"c BAD"), (b"b SELECT INBOX\r\nc STORE 1 FLAGS (\\Recent)\r\n", b"c BAD"),
            (b"b SELECT INBOX\r\nc UID FETCH 4294967296 FLAGS\r\n", b"c BAD"), (b"b SELECT INBOX\r\nc UID NOOP\r\n", b"c BAD"),
            (b"b EXAMINE INBOX\r\nc STORE 1:* +FLAGS (\\Seen)\r\n", b"c "), (b"b LIST \"\" \"%" + b"*" * 500 + b"\"\r\n", b"b "),
        )
        for sent, wanted in rows:
            with self.subTest(sent=sent[:60]):
                self.assertIn(wanted, self.exchange(self.site.imap, b"a LOGIN alice secret\r\n" + sent + b"z LOGOUT\r\n"))

    def test_pop3_rows(self):
        login = b"USER alice\r\nPASS secret\r\n"
        rows = (
            (b"\r\n", b"-ERR"), (b"NONSENSE\r\n", b"-ERR"), (b"PASS x\r\n", b"-ERR"), (b"STAT\r\n", b"-ERR"), (b"USER\r\n", b"-ERR"),
            (b"USER alice:zz\r\n", b"-ERR"), (b"USER " + b"x" * 5000 + b"\r\n", b"-ERR"), (b"AUTH KLINGON\r\n", b"-ERR"),
            (b"AUTH PLAIN !!!\r\n", b"-ERR"), (login + b"RETR 99999999999999999999\r\n", b"-ERR"), (login + b"RETR 0\r\n", b"-ERR"),
            (login + b"RETR -1\r\n", b"-ERR"), (login + b"TOP 1\r\n", b"-ERR"), (login + b"DELE x\r\n", b"-ERR"), (login + b"LIST 7777\r\n", b"-ERR"),
            (b"\x00\x01\x02\r\n", b"-ERR"),
        )
        for sent, wanted in rows:
            with self.subTest(sent=sent[:60]):
                self.assertIn(wanted, self.exchange(self.site.pop3, sent))

    def test_smtp_rows(self):
        hello = b"EHLO client.example\r\n"
        mail = hello + b"MAIL FROM:<a@elsewhere.example>\r\n"
        rcpt = mail + b"RCPT TO:<alice@example.org>\r\n"
        rows = (
            (b"\r\n", b"50"), (b"NONSENSE\r\n", b"500"), (b"MAIL FROM:<a@b>\r\n", b"503"), (hello + b"MAIL FROM:a b c\r\n", b"501"),
            (hello + b"RCPT TO:<alice@example.org>\r\n", b"503"), (mail + b"DATA\r\n", b"554"), (mail + b"RCPT TO:<nobody@example.org>\r\n", b"550"),
            (mail + b"RCPT TO:<x@elsewhere.example>\r\n", b"5"), (hello + b"MAIL FROM:<a@b.example> SIZE=99999999999\r\n", b"552"),
            (hello + b"MAIL FROM:<a@b.example> NONSENSE=1\r\n", b"555"), (hello + b"EHLO\r\n", b"501"), (b"X" * 50_000 + b"\r\n", b"500"),
            (hello + b"VRFY alice\r\n", b"252"), (hello + b"AUTH PLAIN !!!\r\n", b"501"), (hello + b"AUTH KLINGON\r\n", b"504"), (rcpt + b"DATA\r\nSubject: x\n\r\nbare\r\n.\r\n", b"550"),
        )
        for sent, wanted in rows:
            with self.subTest(sent=sent[:60]):
                answer = self.exchange(self.site.smtp, sent)
                self.assertTrue(any(line.startswith(wanted) for line in answer.split(b"\r\n")), answer)

    def test_smuggling(self):
        site = self.site
        site.add_user("smug")
        for ending in (b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n"):
            with self.subTest(ending=ending):
                sent = (b"EHLO client.example\r\nMAIL FROM:<a@elsewhere.example>\r\nRCPT TO:<smug@example.org>\r\nDATA\r\nSubject: one\r\n\r\nx"
                        + ending + b"MAIL FROM:<b@elsewhere.example>\r\nRCPT TO:<smug@example.org>\r\nDATA\r\nSubject: two\r\n\r\ny\r\n.\r\nQUIT\r\n")
                answer = self.exchange(site.smtp, sent)
                self.assertEqual(answer.count(b"\r\n354"), 1, answer)
        client = site.imap_client("smug")
        self.assertEqual(client.select()[1], [b"0"])
        client.logout()

    def test_no_commands_before_starttls_count_after_it(self):
        s, reader, _ = self.site.raw(self.site.imap)
        s.sendall(b"a STARTTLS\r\nb LOGIN alice secret\r\n")
        self.assertIn(b"a OK", reader.readline())
        s.settimeout(1)
        with self.assertRaises((TimeoutError, OSError)):
            # the pipelined command was dropped: nothing comes before a handshake
            data = s.recv(100)
            if not data:
                raise OSError("closed")
        s.close()

    def test_edges(self):
        """What is odd and yet allowed, or allowed nowhere: sets, dates, sizes and names at their ends."""
        site = self.site
        site.add_user("edge")
        client = site.imap_client("edge")
        client.append("INBOX", None, None, MESSAGE)
        client.append("INBOX", None, None, MESSAGE)
        client.create("Empty")
        client.logout()
        select, empty = b"b SELECT INBOX\r\n", b"b SELECT Empty\r\n"
        rows = (
            (select + b"c FETCH *:* UID", b"* 2 FETCH"), (select + b"c FETCH 4294967295:* UID", b"c BAD"), (select + b"c UID FETCH 4294967295:* UID", b"* 2 FETCH (UID 2)"),
            (select + b"c UID FETCH 900:901 UID", b"c OK"), (select + b"c UID SEARCH UID 900:*", b"* SEARCH 2\r\n"), (select + b"c FETCH 2:1 UID", b"* 1 FETCH"),
            (empty + b"c FETCH 1:* FLAGS", b"c OK"), (empty + b"c FETCH 1 FLAGS", b"c BAD"), (empty + b"c UID FETCH 1:* FLAGS", b"c OK"), (empty + b"c UID COPY 1:* INBOX", b"c OK"),
            (empty + b"c SEARCH ALL", b"* SEARCH\r\n"), (empty + b"c UID EXPUNGE 1:*", b"c OK"), (empty + b"c RENAME Empty Moved\r\nd NOOP\r\ne RENAME Moved Empty", b"e OK"),
            (select + b"c SEARCH ON 32-Jan-2020", b"c BAD"), (select + b"c SEARCH ON 30-Feb-2020", b"* SEARCH\r\n"), (select + b"c SEARCH SINCE 1-Jan-9999", b"* SEARCH\r\n"),
            (select + b"c SEARCH LARGER 18446744073709551616", b"c BAD"), (select + b"c SEARCH LARGER 4294967296", b"* SEARCH\r\n"), (select + b"c STATUS INBOX (MESSAGES)", b"MESSAGES 2"),
            (b"c CREATE &-", b"c OK"), (b"c CREATE &AOk", b"c NO"), (b"c CREATE &2D0-", b"c NO"), (b"c CREATE &AGE-", b"c NO"), (b"c CREATE &AOk-&AOk-", b"c NO"),
            (b"c CREATE \"caf\xc3\xa9\"", b"c NO"), (b"c CREATE " + b"x" * 300, b"c NO"), (b"c CREATE inbox", b"c NO"), (b"c CREATE {0+}\r\n", b"c NO"),
            (b"c APPEND INBOX {12+}\r\nSubject: \x00x\r\nd NOOP", b"c BAD"), (select + b"c SEARCH " + b"(" * 10000 + b"ALL" + b")" * 10000, b"c BAD"),
            (select + b"c SEARCH " + b"NOT " * 10000 + b"ALL", b"c BAD"), (b"c " + b"x" * (1 << 20) + b"\r\nd NOOP", b"d OK"), (select + b"c IDLE\r\nd NOOP\r\ne NOOP", b"e OK"),
            (select + b"c UID FETCH " + b",".join(b"%d" % n for n in range(12000, 1, -2)) + b" UID", b"c OK"), (b"c APPEND INBOX {4294967296+}\r\nd DELETE Empty", b"Logged in."),
            (b"c STATUS Empty (MESSAGES)", b"MESSAGES 0"),
        )
        for sent, wanted in rows:
            with self.subTest(sent=sent[:80]):
                self.assertIn(wanted, self.exchange(site.imap, b"a LOGIN edge secret\r\n" + sent + b"\r\nz LOGOUT\r\n"))

    def test_largest_message(self):
        """A message of exactly the limit is taken, one byte more is not, in either protocol."""
        site = self.site
        site.add_user("limit")
        site.set_agent(posternImap4MaxAppendSize="100000", posternSmtpMaxMessageSize="100000")

        def taken():
            client = site.imap_client("limit")
            offered = client.capability()[1][0]
            client.logout()
            return b"APPENDLIMIT=100000" in offered
        poll(taken, what="the edit")
        for size, good in ((100000, True), (100001, False)):
            message = b"Subject: x\r\n\r\n" + b"y" * (size - 16) + b"\r\n"
            for plus in (b"", b"+"):
                sent = b"a LOGIN limit secret\r\nb APPEND INBOX {%d%s}\r\n" % (size, plus) + (message + b"\r\n" if plus or good else b"") + b"z LOGOUT\r\n"
                self.assertIn(b"b OK [APPENDUID" if good else b"b NO [TOOBIG]", self.exchange(site.imap, sent))
            with site.smtp_client() as client:
                client.ehlo()
                client.mail("a@elsewhere.example")
                client.rcpt("limit@example.org")
                self.assertEqual(client.data(message)[0], 250 if good else 552)
        site.set_agent(posternImap4MaxAppendSize=None, posternSmtpMaxMessageSize=None)

    def test_one_byte_at_a_time(self):
        s, reader, _ = self.site.raw(self.site.imap)
        for byte in b"a LOGIN alice {6+}\r\nsecret\r\nb SELECT {5}\r\n":
            s.sendall(bytes([byte]))
        poll(lambda: reader.readline().startswith(b"+"))
        for byte in b"INBOX\r\nc APPEND Nothere {3+}\r\nabc\r\nd IDLE\r\nDONE\r\ne LOGOUT\r\n":
            s.sendall(bytes([byte]))
        answer = reader.read()
        for word in (b"b OK", b"c NO [TRYCREATE]", b"d OK", b"e OK"):
            self.assertIn(word, answer)
        s.close()

    def test_hanging_up_anywhere(self):
        """A session of each protocol that ends after every one of its bytes."""
        site = self.site
        site.add_user("hang")
        site.send(MESSAGE, to=("hang@example.org",))
        sessions = {
            site.imap: b"a LOGIN hang {6+}\r\nsecret\r\nb SELECT INBOX\r\nc APPEND INBOX {10+}\r\nSubject: y\r\nd IDLE\r\nDONE\r\ne FETCH 1 (ENVELOPE BODY[])\r\n"
                       b"f STORE 1 +FLAGS (\\Seen)\r\ng COPY 1 INBOX\r\nh SEARCH TEXT x\r\ni LOGOUT\r\n",
            site.pop3: b"USER hang:v=3\r\nPASS secret\r\nSTAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nTOP 1 3\r\nDELE 1\r\nRSET\r\nQUIT\r\n",
            site.smtp: b"EHLO x\r\nMAIL FROM:<a@elsewhere.example>\r\nRCPT TO:<hang@example.org>\r\nDATA\r\nSubject: z\r\n\r\n..a\r\n.\r\nRSET\r\nAUTH LOGIN\r\nYQ==\r\n*\r\nQUIT\r\n",
        }
        for port, text in sessions.items():
            for length in range(len(text)):
                s = socket.create_connection(("127.0.0.1", port), timeout=30)
                s.sendall(text[:length])
                if length % 3 == 0:     # by a reset
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
        client = site.imap_client("hang")
        self.assertEqual(client.select()[0], "OK")
        client.logout()

    def test_clients_that_never_read(self):
        """Twenty that ask for gigabytes and read nothing cost little memory and nobody's time."""
        site = self.site
        site.add_user("deaf")
        client = site.imap_client("deaf")
        for _ in range(4):
            client.append("INBOX", None, None, b"Subject: big\r\n\r\n" + b"y" * 70 * 150000)
        client.logout()

        def memory():
            with open(f"/proc/{site.agent_pid()}/status") as file:
                return int(next(line for line in file if line.startswith("VmRSS")).split()[1])
        before, sockets = memory(), []
        for _ in range(20):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(("127.0.0.1", site.imap))
            s.sendall(b"a LOGIN deaf secret\r\nb SELECT INBOX\r\n" + b"c FETCH 1:* (BODY.PEEK[] BODY.PEEK[TEXT])\r\n" * 1000)
            sockets.append(s)
        for _ in range(20):
            other = site.imap_client("deaf")
            began = time.monotonic()
            self.assertEqual(other.select()[1], [b"4"])
            self.assertLess(time.monotonic() - began, 20)    # not as long as the deaf ones are waited for
            other.logout()
        self.assertLess(memory() - before, 60 * 1024)
        for s in sockets:
            s.close()

    def test_bombs(self):
        """Messages made to cost much: each is answered, whole and soon, also where one answer is larger than what is kept for a client."""
        site = self.site
        site.add_user("bomb")
        mixed = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        bombs = {
            "nested multiparts": b"MIME-Version: 1.0\r\n" + b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (i, i) for i in range(20000)),
            "nested messages": b"MIME-Version: 1.0\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * 20000,
            "one boundary": mixed + b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 20000,
            "many parts": mixed + b"--b\r\n\r\nx\r\n" * 100000,
            "many fields": b"".join(b"X-%d: y\r\n" % i for i in range(100000)) + b"\r\nx\r\n",
            "one field": b"Subject: " + b"a" * 4_000_000 + b"\r\n\r\nx\r\n",
            "folds": b"Subject: " + b"a\r\n " * 500000 + b"\r\n\r\nx\r\n",
            "addresses": b"To: " + b"a@b.c, " * 100000 + b"\r\n\r\nx\r\n",
            "comments": b"To: " + b"(" * 100000 + b" a@b\r\nFrom: " + b"<" * 100000 + b"\r\n\r\nx\r\n",
            "encoded words": b"Subject: " + b"=?utf-8?B?w6k=?= " * 100000 + b"\r\n\r\nx\r\n",
            "parameters": b"MIME-Version: 1.0\r\nContent-Type: text/plain" + b"".join(b"; a*%d=c" % i for i in range(20000, 0, -1)) + b"\r\n\r\nx\r\n",
            "escapes": b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=iso-2022-jp\r\n\r\n" + b"\x1b$B" * 300000 + b"\r\n",
            "one line": b"Subject: x\r\n\r\n" + b"z" * 4_000_000,
        }
        client = site.imap_client("bomb")
        client.select()
        for name, message in bombs.items():
            with self.subTest(bomb=name):
                client.append("INBOX", None, None, message)
                client.noop()
                began = time.monotonic()
                for items in ("BODYSTRUCTURE", "ENVELOPE", "BODY.PEEK[1.1.1.1.1]", "BODY.PEEK[HEADER.FIELDS (SUBJECT TO)]", "BODY.PEEK[]"):
                    self.assertEqual(client.fetch("*", f"({items})")[0], "OK")
                for key in ("BODY nothing", "TEXT nothing", "SUBJECT nothing"):
                    self.assertEqual(client.search(None, "*", key), ("OK", [b""]))
                self.assertLess(time.monotonic() - began, 60)
        client.logout()

    def test_corrupt_uidlist_keeps_mail(self):
        site = self.site
        site.add_user("corrupt")
        for number in range(5):
            site.send(MESSAGE, to=("corrupt@example.org",))
        client = site.imap_client("corrupt")
        before = uid_map(client)
        client.logout()
        self.assertEqual(len(before), 5)
        path = os.path.join(site.maildir("corrupt"), "dovecot-uidlist")
        with open(path, "r+b") as file:
            data = file.read()
            lines = data.split(b"\n")
            lines[3] = b"\xff garbage without a colon"
            file.seek(0)
            file.truncate()
            file.write(b"\n".join(lines))
        site.send(MESSAGE, to=("corrupt@example.org",))
        client = site.imap_client("corrupt")
        after = uid_map(client)
        self.assertEqual(len(after), 6)
        kept = set(before) & set(after)
        self.assertGreaterEqual(len(kept), 4)
        self.assertTrue(all(uid in before or uid > max(before) for uid in after), (before, after))
        client.logout()

    def test_vanished_file(self):
        site = self.site
        site.add_user("gone")
        for number in range(3):
            site.send(MESSAGE, to=("gone@example.org",))
        client = site.imap_client("gone")
        uids = sorted(uid_map(client))
        box = os.path.join(site.maildir("gone"), "cur")
        # in the order of arrival: the microseconds in the names have no leading zeros
        names = sorted(os.listdir(box), key=lambda name: [int(word) for word in re.match(r"(\d+)\.M(\d+)P", name).groups()])
        os.remove(os.path.join(box, names[1]))
        kind, data = client.uid("FETCH", str(uids[1]), "(BODY.PEEK[])")
        self.assertTrue(kind == "NO" or data == [None], (kind, data))

        def told():
            client.noop()
            return len(uid_map(client)) == 2
        poll(told, what="the expunge")
        client.logout()

    def test_unmarked_post_office_is_not_touched(self):
        site = self.site
        marker = os.path.join(site.dir, "mail", "research", "postern-postoffice")
        os.rename(marker, marker + ".away")
        try:
            with self.assertRaises(imaplib.IMAP4.error) as caught:
                site.imap_client("dave")
            self.assertIn("[UNAVAILABLE]", str(caught.exception))
            self.assertFalse(os.path.exists(os.path.join(site.dir, "mail", "research", "dave")))
            site.imap_client("bob").logout()
        finally:
            os.rename(marker + ".away", marker)
        site.imap_client("dave").logout()

    def test_stopped_lock_holder_hurts_nobody_else(self):
        """Somebody holds the uidlist lock of one mailbox and is stopped: users of the others notice nothing."""
        site = self.site
        site.add_user("locked")
        site.send(MESSAGE, to=("locked@example.org",))
        site.imap_client("locked").logout()
        holder = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        lock = os.path.join(site.maildir("locked"), "dovecot-uidlist.lock")
        try:
            freeze(holder.pid)
            with open(lock, "x") as file:
                file.write(f"{holder.pid}:{socket.gethostname()}")
            victims = []
            for number in range(12):      # more than there are threads
                s, reader, _ = site.raw(site.imap)
                s.sendall(b"a LOGIN locked secret\r\nb SELECT INBOX\r\nc STORE 1:* +FLAGS (\\Flagged)\r\n")
                victims.append((s, reader))
            for _ in range(5):
                began = time.monotonic()
                client = site.imap_client("alice")
                client.select()
                client.append("INBOX", None, None, MESSAGE)
                client.logout()
                self.assertLess(time.monotonic() - began, 20)
            # delivery takes no lock
            site.send(MESSAGE, to=("locked@example.org",))
        finally:
            os.kill(holder.pid, signal.SIGCONT)
            holder.kill()
            holder.wait()
            for s, _ in victims:
                s.close()
            try:
                os.remove(lock)
            except FileNotFoundError:
                pass

    def test_full_disk(self):
        """The post office's disk is full: APPEND and delivery are refused as temporary or over quota, nothing is lost."""
        site = self.site
        if os.geteuid() != 0:
            self.skipTest("mounting a small tmpfs needs root")
        site.add_user("full", office="Research", domain="research.example.org")
        path = os.path.join(site.dir, "mail", "research")
        marker = open(os.path.join(path, "postern-postoffice"), "rb").read()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "none", path], stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("this machine mounts no tmpfs")
        try:
            with open(os.path.join(path, "postern-postoffice"), "wb") as file:
                file.write(marker)
            client = site.imap_client("full")
            client.append("INBOX", None, None, MESSAGE)
            big = MESSAGE + b"filling line\r\n" * 8000
            answers = []
            for _ in range(20):
                answers.append(client.append("INBOX", None, None, big)[0])
                if answers[-1] == "NO":
                    break
            self.assertEqual(answers[-1], "NO")
            with self.assertRaises((smtplib.SMTPDataError, smtplib.SMTPSenderRefused, smtplib.SMTPRecipientsRefused)) as caught:
                site.send(big, to=("full@research.example.org",))
            error = caught.exception
            code = error.smtp_code if hasattr(error, "smtp_code") else list(error.recipients.values())[0][0]
            self.assertEqual(code // 100, 4)
            self.assertEqual(len(uid_map(client)), answers.count("OK") + 1)
            self.assertEqual(os.listdir(os.path.join(site.maildir("full", "research"), "tmp")), [])
            client.logout()
        finally:
            subprocess.run(["umount", "-l", path])

    def test_frozen_post_office_hurts_nobody_else(self):
        """A post office on a frozen file system (FUSE): its users hear a temporary failure, all others are served."""
        helper = os.path.join(BUILD, "tests", "e2e", "frozen_fs")
        if os.geteuid() != 0 or not os.path.exists("/dev/fuse") or not os.path.exists(helper):
            self.skipTest("needs root, /dev/fuse and the frozen_fs helper")
        site = self.site
        site.add_user("frost", office="Research", domain="research.example.org")
        site.set_agent(posternStallSeconds="3")
        path = os.path.join(site.dir, "mail", "research")
        real = os.path.join(site.dir, "research-real")
        os.makedirs(real, exist_ok=True)
        with open(os.path.join(path, "postern-postoffice"), "rb") as a, open(os.path.join(real, "postern-postoffice"), "wb") as b:
            b.write(a.read())
        process = subprocess.Popen([helper, real, path])
        try:
            poll(lambda: os.path.ismount(path), what="the mount")
            site.imap_client("frost").logout()
            process.send_signal(signal.SIGUSR1)     # freeze: no call is answered any more
            victims = []
            for _ in range(12):
                s, reader, _ = site.raw(site.imap)
                s.sendall(b"a LOGIN frost secret\r\n")
                victims.append((s, reader))

            def refused():
                s, reader, _ = site.raw(site.imap)
                s.settimeout(20)
                s.sendall(b"a LOGIN frost secret\r\n")
                line = reader.readline()
                s.close()
                return b"UNAVAILABLE" in line
            poll(refused, what="the temporary failure")
            for _ in range(10):
                began = time.monotonic()
                client = site.imap_client("alice")
                client.select()
                client.append("INBOX", None, None, MESSAGE)
                client.logout()
                self.assertLess(time.monotonic() - began, 20)
            faults = lambda: site.ldap("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", site.agent_dn, "(objectClass=posternAgentStatus)", "posternFault").stdout
            poll(lambda: f"posternPath: {path} does not answer" in faults(), what="the fault in the status entry")
            process.send_signal(signal.SIGUSR2)     # thaw
            poll(lambda: "posternPath" not in faults(), what="its cure")

            def served():
                try:
                    site.imap_client("frost").logout()
                    return True
                except (imaplib.IMAP4.error, OSError):
                    return False
            poll(served, what="service after the thaw")
            for s, _ in victims:
                s.close()
        finally:
            process.send_signal(signal.SIGUSR2)
            subprocess.run(["umount", "-l", path])
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
