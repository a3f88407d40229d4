#!/usr/bin/env python3
"""IMAP through a post office link: posternd in front of a real Dovecot that shares the post office's Maildirs, ordinary clients, and all that ends
a relayed session."""
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import unittest

from dovecot import become_nobody, beside, name_agent
from harness import main, poll, uid_map

BIG = 30_000_000


class Relay(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.poa = beside(cls)
        name_agent(cls, cls.poa, posternPoaTimeoutMilliseconds=20000, posternPoaLoginMilliseconds=20000)    # a busy machine does not make it away
        client = cls.site.imap_client("alice")
        client.select()    # makes the mailbox: a fallback makes none
        client.logout()
        cls.set_mode("clientServerAndDirect")

    @classmethod
    def set_mode(cls, mode):
        cls.site.modify(cls.office, posternAccessMode=mode)
        wanted = mode != "direct"
        poll(lambda: cls.goes_to_the_poa() == wanted, what=f"mode {mode}")

    @classmethod
    def goes_to_the_poa(cls):
        client = cls.site.imap_client("alice")
        relayed = cls.is_relayed(client)
        client.logout()
        return relayed

    @staticmethod
    def is_relayed(client):
        client.xatom("ID", "NIL")
        return b"Dovecot" in (client.response("ID")[1][0] or b"")

    def setUp(self):
        if self.poa.process.poll() is not None:
            self.poa.start()
            poll(lambda: self.goes_to_the_poa(), what="the way back to the POA")

    def new_user(self, user, messages=3):
        self.site.add_user(user)
        client = self.site.imap_client(user)
        for number in range(messages):
            flags = r"(\Seen)" if number % 2 else None
            self.assertEqual(client.append("INBOX", flags, None, f"Subject: {number}\r\n\r\nbody {number}\r\n".encode())[0], "OK")
        return client

    def raw_login(self, user):
        s, reader, _ = self.site.raw(self.site.imap)
        s.sendall(f"l LOGIN {user} secret\r\n".encode())
        self.assertTrue(reader.readline().startswith(b"l OK"))
        return s, reader

    def answer(self, s, reader, command):
        """All lines of the answer."""
        s.sendall(command)
        tag, lines = command.split()[0] + b" ", []
        while not lines or not lines[-1].startswith(tag):
            lines.append(reader.readline())
            self.assertTrue(lines[-1], f"closed after {lines}")
        return lines

    # --- what passes
    def test_capability(self):
        s, reader, _ = self.site.raw(self.site.imap)
        s.sendall(b"l LOGIN alice secret\r\n")
        told = reader.readline()
        asked = self.answer(s, reader, b"a CAPABILITY\r\n")[0]
        for line in (told, asked):
            words = re.search(rb"CAPABILITY ([^\]\r]*)", line).group(1).split()
            self.assertIn(b"THREAD=REFERENCES", words)    # Dovecot's own
            self.assertFalse([word for word in words if word.startswith((b"AUTH=", b"COMPRESS", b"LOGIN", b"CONDSTORE", b"QRESYNC",
                                                                         b"STARTTLS", b"SASL-IR"))], line)
            self.assertTrue([word for word in words if word.startswith(b"APPENDLIMIT=")])
        s.close()

    def test_what_is_refused(self):
        s, reader = self.raw_login("alice")
        self.assertTrue(self.answer(s, reader, b"a COMPRESS DEFLATE\r\n")[-1].startswith(b"a NO [CANNOT]"))
        self.assertTrue(self.answer(s, reader, b"b LOGIN bob {6+}\r\nsecret\r\n")[-1].startswith(b"b BAD"))
        self.assertTrue(self.answer(s, reader, b"c APPEND INBOX {99999999999}\r\n")[-1].startswith(b"c NO [TOOBIG]"))
        self.assertTrue(self.answer(s, reader, b"d SEARCH " + b"x" * 70000 + b"\r\n")[-1].startswith(b"d BAD [TOOBIG]"))
        lines = self.answer(s, reader, b"e ENABLE QRESYNC\r\n")
        self.assertEqual(lines[0], b"* ENABLED\r\n")
        s.sendall(b"f NOOP\r\ng COMPRESS X\r\nh NOOP\r\n")
        self.assertEqual([reader.readline()[:4] for _ in range(3)], [b"f OK", b"g NO", b"h OK"])
        s.close()

    def test_session(self):
        client = self.new_user("session")
        self.assertTrue(self.is_relayed(client))
        self.assertEqual(client.create("Folder")[0], "OK")
        client.select()
        self.assertEqual(client.copy("1:2", "Folder")[0], "OK")
        body = bytes(range(256)) * 8000
        message = b"Subject: big\r\n\r\n" + body.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
        self.assertEqual(client.append("Folder", None, None, message)[0], "OK")
        client.select("Folder")
        self.assertEqual(client.fetch("3", "(BODY.PEEK[])")[1][0][1], message + b"" if message.endswith(b"\r\n") else message)
        client.logout()

    def test_idle_sees_delivery(self):
        self.new_user("idler", 0).logout()
        s, reader = self.raw_login("idler")
        self.answer(s, reader, b"a SELECT INBOX\r\n")
        s.sendall(b"b IDLE\r\nDONE\r\nc IDLE\r\n")
        self.assertTrue(reader.readline().startswith(b"+"))
        self.assertTrue(reader.readline().startswith(b"b OK"))
        self.assertTrue(reader.readline().startswith(b"+"))
        self.site.send(b"Subject: news\r\n\r\nx\r\n", to=("idler@example.org",))
        line = reader.readline()
        while b"EXISTS" not in line:
            self.assertTrue(line)
            line = reader.readline()
        s.sendall(b"DONE\r\nd LOGOUT\r\n")
        rest = reader.read()
        self.assertIn(b"c OK", rest)
        self.assertIn(b"\r\nd OK", rest)
        s.close()

    def test_curl_over_tls(self):
        self.new_user("curly").logout()
        url = f"imaps://localhost:{self.site.imaps}/INBOX;MAILINDEX=2"
        done = subprocess.run(["curl", "-sS", "--cacert", self.site.env["POSTERN_CA_FILE"], "-u", "curly:secret", url],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertIn(b"body 1", done.stdout)

    def test_mbsync(self):
        if shutil.which("mbsync") is None:
            self.skipTest("no mbsync")
        self.new_user("mb").logout()
        home = os.path.join(self.site.dir, "mbsync")
        os.makedirs(os.path.join(home, "mail"))
        with open(os.path.join(home, "rc"), "w") as file:
            file.write(f"IMAPStore far\nHost 127.0.0.1\nPort {self.site.imap}\nUser mb\nPass secret\nSSLType None\nAuthMechs LOGIN\n\n"
                       f"MaildirStore near\nPath {home}/mail/\nInbox {home}/mail/INBOX\nSubFolders Verbatim\n\n"
                       "Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nExpunge Both\nSyncState *\n")

        def sync():
            done = subprocess.run(["mbsync", "-c", os.path.join(home, "rc"), "-a"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, env={**os.environ, "HOME": home})
            self.assertEqual(done.returncode, 0, done.stdout)

        sync()
        inbox = os.path.join(home, "mail", "INBOX")
        files = [os.path.join(inbox, sub, name) for sub in ("cur", "new") for name in os.listdir(os.path.join(inbox, sub))]
        self.assertEqual(len(files), 3)
        os.remove(files[0])
        with open(os.path.join(inbox, "cur", "99.local:2,FS"), "wb") as file:
            file.write(b"Subject: pushed\n\nup\n")
        sync()
        client = self.site.imap_client("mb")
        client.select()
        self.assertEqual(len(client.search(None, "SUBJECT pushed FLAGGED SEEN")[1][0].split()), 1)
        client.logout()

    # --- what ends
    def test_failover(self):
        client = self.new_user("fail", 5)
        client.select()
        client.store("2", "+FLAGS", r"(\Flagged work)")
        before = uid_map(client)
        validity = client.response("UIDVALIDITY")
        waiting, waiting_reader = self.raw_login("fail")
        selected, selected_reader = self.raw_login("fail")
        self.answer(selected, selected_reader, b"a SELECT INBOX\r\n")
        client.logout()
        self.poa.stop(signal.SIGKILL)
        # no mailbox selected: it goes on
        self.assertTrue(waiting_reader.readline().startswith(b"* CAPABILITY"))
        lines = self.answer(waiting, waiting_reader, b"a STATUS INBOX (MESSAGES)\r\n")
        self.assertIn(b"(MESSAGES 5)", b"".join(lines))
        waiting.close()
        # selected: it ends
        self.assertTrue(selected_reader.readline().startswith(b"* BYE [UNAVAILABLE]"))
        self.assertEqual(selected_reader.read(), b"")
        selected.close()
        client = self.site.imap_client("fail")
        self.assertFalse(self.is_relayed(client))
        self.assertEqual(uid_map(client), before)
        self.assertEqual(client.response("UIDVALIDITY"), validity)
        self.assertEqual(client.append("INBOX", r"(\Answered)", None, b"Subject: direct\r\n\r\nx\r\n")[0], "OK")
        after = uid_map(client)
        client.logout()
        self.assertEqual(len(after), 6)
        self.poa.start()
        poll(lambda: self.goes_to_the_poa(), what="the way back to the POA")
        client = self.site.imap_client("fail")
        self.assertEqual(uid_map(client), after)
        client.logout()

    def test_killed_within_a_fetch(self):
        client = self.new_user("large", 0)
        self.assertEqual(client.append("INBOX", None, None, b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * (BIG // 17))[0], "OK")
        client.logout()
        s, reader = self.raw_login("large")
        self.answer(s, reader, b"a SELECT INBOX\r\n")
        s.sendall(b"b FETCH 1 BODY[]\r\n")
        while b"{" not in reader.readline():
            pass
        self.poa.stop(signal.SIGKILL)
        rest = reader.read()
        self.assertLess(len(rest), BIG)
        self.assertNotIn(b"BYE", rest)    # within a literal it would be mail
        s.close()

    def test_password_refused_by_the_poa(self):
        self.site.add_user("other")
        self.site.modify(self.site.user_dn("other"), userPassword="different")
        s, reader, _ = self.site.raw(self.site.imap)
        began = time.monotonic()
        s.sendall(b"a LOGIN other different\r\n")
        self.assertTrue(reader.readline().startswith(b"a NO [AUTHENTICATIONFAILED]"))
        self.assertGreater(time.monotonic() - began, 1.5)
        s.close()
        self.assertTrue(self.goes_to_the_poa())    # that was no failure of the POA

    def test_slow_reader(self):
        """A client that does not read holds up itself and nobody else, and gets every byte in the end."""
        client = self.new_user("slow", 0)
        body = b"Subject: x\r\n\r\n" + b"0123456789abcde\r\n" * 600_000
        client.append("INBOX", None, None, body)
        client.logout()
        s, reader = self.raw_login("slow")
        self.answer(s, reader, b"a SELECT INBOX\r\n")
        s.sendall(b"b FETCH 1 BODY.PEEK[]\r\n" + b"".join(b"c%d NOOP\r\n" % i for i in range(500)) + b"d LOGOUT\r\n")
        other = self.site.imap_client("alice")
        self.assertEqual(other.noop()[0], "OK")
        other.logout()
        rest = reader.read()
        self.assertIn(body, rest)
        self.assertIn(b"\r\nc499 OK", rest)
        self.assertTrue(rest.rstrip().splitlines()[-1].startswith(b"d OK"))
        s.close()

    def test_right_revoked(self):
        self.new_user("revoked", 1).logout()
        s, reader = self.raw_login("revoked")
        self.answer(s, reader, b"a SELECT INBOX\r\n")
        s.sendall(b"b IDLE\r\n")
        reader.readline()
        self.site.modify(self.site.user_dn("revoked"), posternDisabled="TRUE")
        self.assertTrue(reader.readline().startswith(b"* BYE"))
        s.close()

    def test_mode_changes(self):
        s, reader = self.raw_login("alice")
        self.answer(s, reader, b"a SELECT INBOX\r\n")
        self.site.modify(self.office, posternAccessMode="direct")
        try:
            self.assertTrue(reader.readline().startswith(b"* BYE [UNAVAILABLE]"))
            s.close()
            poll(lambda: not self.goes_to_the_poa(), what="direct access")
        finally:
            self.set_mode("clientServerAndDirect")

    def append_until(self, over, kept, doubts, refused, number):
        """Logins and new messages; what ends without an answer may be there or not."""
        count = 0
        while not over.is_set():
            marker = f"m{number}-{count}"
            count += 1
            s, reader, _ = self.site.raw(self.site.imap)
            s.sendall(b"a LOGIN mind secret\r\n")
            answer = reader.readline()
            if not answer.startswith(b"a OK"):
                refused.append(answer)
                continue
            text = f"Subject: {marker}\r\n\r\nx\r\n".encode()
            try:
                s.sendall(b"b APPEND INBOX {%d+}\r\n%s\r\n" % (len(text), text))
                while (line := reader.readline()) and not line.startswith(b"b "):
                    pass
            except OSError:
                line = b""
            (kept if line.startswith(b"b OK") else doubts).append(marker)
            s.close()

    def test_directory_says_one_thing_then_another(self):
        self.new_user("mind", 0).logout()
        over, kept, doubts, refused = threading.Event(), [], [], []
        threads = [threading.Thread(target=self.append_until, args=(over, kept, doubts, refused, number)) for number in range(3)]
        for thread in threads:
            thread.start()
        try:
            for mode in ("direct", "clientServer", "direct", "clientServerAndDirect", "clientServer", "clientServerAndDirect") * 2:
                self.site.modify(self.office, posternAccessMode=mode)
                before = len(kept)
                poll(lambda: len(kept) >= before + 6, what=f"messages after {mode}")
        finally:
            over.set()
            for thread in threads:
                thread.join()
            self.set_mode("clientServerAndDirect")
        self.assertEqual(refused, [])
        client = self.site.imap_client("mind")
        client.select()
        found = [item[1].split()[1].decode() for item in client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")[1] if isinstance(item, tuple)]
        client.logout()
        self.assertEqual(len(found), len(set(found)))
        self.assertLessEqual(set(kept), set(found))
        self.assertLessEqual(set(found), set(kept) | set(doubts))
        print(f"effect of the changes: {len(kept)} messages kept, {len(doubts)} without an answer")

    def test_service_disabled(self):
        s, reader = self.raw_login("alice")
        self.site.set_agent(posternImap4Enabled="FALSE")
        try:
            self.assertTrue(reader.readline().startswith(b"* BYE [UNAVAILABLE]"))
        finally:
            self.site.set_agent(posternImap4Enabled="TRUE")
            poll(lambda: self.opens(), what="the IMAP service")
        s.close()

    def opens(self):
        try:
            socket.create_connection(("127.0.0.1", self.site.imap), 5).close()
            return True
        except OSError:
            return False

    def test_other_post_office_is_untouched(self):
        self.site.add_user("researcher", office="Research")
        client = self.site.imap_client("researcher")
        self.poa.stop(signal.SIGKILL)
        self.assertFalse(self.is_relayed(client))
        client.logout()


if __name__ == "__main__":
    become_nobody()
    main()
