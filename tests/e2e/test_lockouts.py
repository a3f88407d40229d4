#!/usr/bin/env python3
"""Intruder detection against a whole site: names are locked after failed logins, in all services, known or not, under any of a user's names; posternctl
shows and unlocks them; the settings count at once."""
import imaplib
import json
import os
import poplib
import re
import signal
import smtplib
import subprocess
import unittest

from harness import BUILD, Site, freeze, kill, main, poll

PROGRAM = os.path.join(BUILD, "posternctl")
REFUSED = "AUTHENTICATIONFAILED"


class Lockouts(unittest.TestCase):
    def setUp(self):
        self.site = Site()
        self.addCleanup(self.site.close)
        self.set = self.site.set_agent_now
        self.set(posternLoginFailureMilliseconds="50")

    def ctl(self, *arguments):
        done = subprocess.run([PROGRAM, "--control", self.site.env["POSTERN_CONTROL"], *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def json(self, *arguments):
        code, out, err = self.ctl("--json", *arguments)
        self.assertEqual((code, err), (0, ""), arguments)
        return json.loads(out)

    def locked(self):
        return {row["name"] for row in self.json("lockouts")["lockouts"]}

    def counter(self, service="imap4"):
        return {s["service"]: s for s in self.json("status")["services"]}[service]["intruder"]

    def login(self, user, password=None):
        """None, or what the client hears."""
        client = self.site.imap_client(login=False)
        try:
            client.login(user, password or self.site.env["POSTERN_PASSWORD"])
            client.logout()
            return None
        except imaplib.IMAP4.error as error:
            client.shutdown()
            return str(error)

    def miss(self, user, times=5):
        return {self.login(user, "wrong") for _ in range(times)}

    def test_lock_and_unlock(self):
        site = self.site
        replies = self.miss("alice", 4)
        self.assertIsNone(self.login("alice"), "four are too few")
        replies |= self.miss("alice")
        self.assertEqual(self.locked(), {"alice"})
        replies.add(self.login("alice"))
        replies.add(self.login("ALICE@example.org"))
        self.assertEqual(self.counter(), 2)
        # a name that is nobody's hears and does the same
        replies |= self.miss("nobody", 6)
        self.assertEqual(len(replies), 1, replies)
        self.assertIn(REFUSED, replies.pop())
        self.assertEqual(self.locked(), {"alice", "nobody"})
        self.assertEqual(self.counter(), 3)
        # one lock for all services, and for nobody else
        with self.assertRaises(poplib.error_proto) as caught:
            site.pop3_client("alice")
        self.assertIn(b"[AUTH]", caught.exception.args[0])
        with site.smtp_client(site.submission) as client:
            client.starttls(context=site.tls())
            with self.assertRaises(smtplib.SMTPAuthenticationError):
                client.login("alice", site.env["POSTERN_PASSWORD"])
        self.assertIsNone(self.login("bob"))
        # mail to it still comes
        self.assertEqual(site.send(b"Subject: x\r\n\r\nx\r\n"), {})
        # an administrator lets it in, by any of its names
        self.json("unlock", "alice@EXAMPLE.org")
        self.assertEqual(self.locked(), {"nobody"})
        self.assertIsNone(self.login("alice"))
        self.json("unlock", "nobody")
        self.assertEqual(self.ctl("unlock", "nobody")[0], 1)
        self.assertEqual(self.locked(), set())
        # the count began anew
        self.miss("alice", 4)
        self.assertIsNone(self.login("alice"))

    def test_names_of_one_user(self):
        self.site.modify(self.site.user_dn("bob"), posternMailAlias=["b1@example.org", "b2@example.org"])
        poll(lambda: self.login("b2@example.org") is None, what="the alias")
        for name in ("bob", "BOB@example.org", "b1@example.org", "Bob", "b2@example.org"):
            self.assertIn(REFUSED, self.login(name, "wrong"))
        self.assertEqual(self.locked(), {"bob"})
        self.assertIn(REFUSED, self.login("b1@example.org"))

    def test_spellings_of_a_name(self):
        """What the directory takes for the same name is counted as the same user; what would be a filter finds nobody."""
        def guess(name, password):
            client = self.site.imap_client(login=False)
            try:
                client.authenticate("PLAIN", lambda _: b"\0" + name + b"\0" + password.encode())
                return True
            except imaplib.IMAP4.error as error:
                return re.search("AUTHENTICATIONFAILED|BAD", str(error)).group(0)
            finally:
                client.shutdown()
        password = self.site.env["POSTERN_PASSWORD"]
        for name in (b"*", b"al*", b"alice)(uid=*", b"alice)(&", b"uid=alice", self.site.user_dn("alice").encode()):
            self.assertEqual(guess(name, password), REFUSED, name)
        for name in (b"alic\xc3", b"\xff", b"alice\x01", b""):
            self.assertNotEqual(guess(name, password), True, name)
        for name in (b"carol ", b" CAROL", b"  carol", "\uff43arol".encode(), b"cArOl"):
            self.assertEqual(guess(name, "wrong"), REFUSED, name)
        self.assertIn("carol", self.locked())
        for name in (b"carol", " c\uff41rol".encode()):
            self.assertEqual(guess(name, password), REFUSED, name)

    def test_settings_count_at_once(self):
        self.set(posternIntruderAttempts="2")
        self.miss("alice", 2)
        self.assertIn(REFUSED, self.login("alice"))
        connected = self.site.imap_client(login=False)
        self.set(posternIntruderDetection="FALSE")
        self.assertEqual(connected.login("alice", self.site.env["POSTERN_PASSWORD"])[0], "OK", "one that was connected before")
        connected.logout()
        self.assertIsNone(self.login("alice"))
        self.assertEqual(self.locked(), set())
        self.miss("bob", 7)
        self.assertIsNone(self.login("bob"))
        self.set(posternIntruderDetection="TRUE")
        self.set(posternIntruderLockoutMinutes="0")
        self.miss("bob", 2)
        row = {r["name"]: r for r in self.json("lockouts")["lockouts"]}["bob"]
        self.assertEqual((row["known"], row["failures"], row["until"]), (True, 2, None))

    def test_directory_away(self):
        """A directory that does not answer locks nobody; nor is a lock forgotten when the agent crashes."""
        site = self.site
        self.set(posternIntruderAttempts="2")
        site.kill_slapd()
        for _ in range(4):
            self.assertIn("UNAVAILABLE", self.login("alice", "wrong"))
        self.assertEqual(self.locked(), set())
        site.start_slapd()
        poll(lambda: self.login("alice") is None, what="the directory")
        self.miss("bob", 2)
        old = site.agent_pid()
        kill(old)
        poll(lambda: self.ctl("status")[0] == 0 and site.agent_pid() != old, what="the new agent")
        poll(lambda: self.login("carol") is None, what="logins")
        self.assertIn(REFUSED, self.login("bob"))
        self.assertEqual(self.locked(), {"bob"})

    def test_no_bind(self):
        """The directory hears of no password for a name that is locked: one that is frozen makes no difference."""
        self.miss("alice")
        frozen = self.site.slapd_pid()
        freeze(frozen)
        try:
            self.assertIn(REFUSED, self.login("alice"))    # who asks it hears that it does not answer
        finally:
            os.kill(frozen, signal.SIGCONT)


if __name__ == "__main__":
    main()
