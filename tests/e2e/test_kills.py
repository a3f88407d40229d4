#!/usr/bin/env python3
"""kill -9 of the agent at random moments of delivery, APPEND and expunge: no acknowledged message is missing, none is there twice
that was sent once and acknowledged once, no UID is used twice, no acknowledged expunge comes back."""
import imaplib
import os
import random
import re
import smtplib
import threading
import time
import unittest

from harness import FULL, Site, kill, main, poll

KILLS = int(os.environ.get("POSTERN_KILLS", 300 if FULL else 30))
SEED = 20


class Kills(unittest.TestCase):
    def setUp(self):
        self.site = Site()
        self.addCleanup(self.site.close)
        self.site.add_user("victim")
        self.lock = threading.Lock()
        self.acknowledged = {}      # marker -> times acknowledged
        self.attempted = {}
        self.removed = set()        # UIDs whose expunge was acknowledged
        self.uids = {}              # UID -> marker, as seen or told
        self.errors = []
        self.end = False

    def message(self, marker):
        return (f"From: a@elsewhere.example\r\nTo: victim@example.org\r\nSubject: x\r\nX-Marker: {marker}\r\n\r\n"
                + "line of text\r\n" * random.randrange(1, 400)).encode()

    def learn(self, uid, marker):
        with self.lock:
            known = self.uids.setdefault(uid, marker)
            if known != marker:
                self.errors.append(f"UID {uid} is {known} and {marker}")

    def worker(self, name, act):
        number = 0
        while not self.end:
            number += 1
            try:
                act(f"{name}-{number}")
            except (OSError, EOFError, smtplib.SMTPException, imaplib.IMAP4.error):
                pass
            except Exception as error:    # a wrong answer, not a broken connection
                self.errors.append(f"{name}: {error!r}")

    def deliver(self, marker):
        with self.lock:
            self.attempted[marker] = "smtp"
        self.site.send(self.message(marker), to=("victim@example.org",))
        with self.lock:
            self.acknowledged[marker] = 1

    def append(self, marker):
        client = self.site.imap_client("victim")
        for part in range(5):
            one = f"{marker}-{part}"
            with self.lock:
                self.attempted[one] = "append"
            kind, data = client.append("INBOX", None, None, self.message(one))
            if kind == "OK":
                with self.lock:
                    self.acknowledged[one] = 1
                self.learn(int(re.search(rb"APPENDUID \d+ (\d+)", data[0]).group(1)), one)
        client.logout()

    def expunge(self, _):
        """Removes messages whose UIDs APPENDUID told."""
        client = self.site.imap_client("victim")
        for _ in range(5):
            with self.lock:
                there = [uid for uid, marker in self.uids.items() if marker not in self.gone]
                if not there:
                    break
                uid = random.choice(there)
                self.gone.add(self.uids[uid])
            client.select()     # only now: a session need not know what was appended after its SELECT
            marked, _ = client.uid("STORE", str(uid), "+FLAGS", "(\\Deleted)")
            told = client.response("FETCH")[1]
            kind, _ = client.uid("EXPUNGE", str(uid))
            expunged = client.response("EXPUNGE")[1]
            if marked == "OK" and kind == "OK" and expunged == [None]:
                self.errors.append(f"UID {uid} was acknowledged, marked ({told}) and yet not expunged")
            if marked == "OK" and kind == "OK":
                with self.lock:
                    self.removed.add(uid)
        client.logout()

    def listing(self, client):
        found = {}

        def fetched():
            # NO [EXPUNGEISSUED] while a message that a killed agent removed is still listed: soon it is not (maildir.md, rule 3)
            kind, data = client.uid("FETCH", "1:*", "(UID BODY.PEEK[HEADER.FIELDS (X-Marker)])")
            return data if kind == "OK" else client.noop() and None
        data = poll(fetched, what="a whole listing")
        for part in data:
            if isinstance(part, tuple):
                uid = int(re.search(rb"UID (\d+)", part[0]).group(1))
                found[uid] = re.search(rb"X-Marker: (\S+)", part[1]).group(1).decode()
        for uid, marker in found.items():
            self.learn(uid, marker)
        return found

    def test_kills(self):
        random.seed(SEED)
        self.gone = set()           # markers whose removal was begun
        workers = [threading.Thread(target=self.worker, args=(f"{act.__name__}{number}", act))
                   for number, act in enumerate((self.deliver, self.deliver, self.append, self.expunge))]
        for worker in workers:
            worker.start()
        for number in range(KILLS):
            if number % 2:     # or a slow machine would hardly get beyond the start
                before = len(self.acknowledged)
                poll(lambda: len(self.acknowledged) > before, what="an acknowledged message")
            time.sleep(random.uniform(0.05, 0.4))     # the random moment
            old = poll(self.site.agent_pid, what="an agent to kill")
            kill(old)
            poll(lambda: self.site.agent_pid() not in (None, old), what="the next agent")
        self.end = True
        for worker in workers:
            worker.join(60)

        def login():
            try:
                return self.site.imap_client("victim")
            except (OSError, imaplib.IMAP4.error):
                return None
        client = poll(login, what="login after the last kill")
        client.select()
        found = self.listing(client)
        self.assertEqual(self.errors, [])
        counts = {}
        for marker in found.values():
            counts[marker] = counts.get(marker, 0) + 1
        missing = [marker for marker in self.acknowledged if marker not in counts and marker not in self.gone]
        self.assertEqual(missing, [], "acknowledged and missing")
        # the worker's names are unique per attempt, and nobody retries: nothing may be there twice
        doubled = [marker for marker, count in counts.items() if count > 1]
        self.assertEqual(doubled, [], "doubled")
        self.assertEqual(sorted(self.removed & set(found)), [], "expunged and back")
        unknown = [marker for marker in counts if marker not in self.attempted]
        self.assertEqual(unknown, [])
        print(f"{KILLS} kills, {len(self.attempted)} messages sent, {len(self.acknowledged)} acknowledged, "
              f"{len(self.removed)} expunged, {len(found)} there at the end")
        self.assertGreaterEqual(len(self.acknowledged), KILLS // 2)


if __name__ == "__main__":
    main()
