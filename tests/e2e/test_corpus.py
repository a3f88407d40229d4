#!/usr/bin/env python3
"""Real messages go in by SMTP and by Maildir and come out by POP3 and IMAP byte for byte, with the trace header added."""
import os
import re
import unittest

from harness import FULL, Site, corpus, main

COUNT = None if FULL else 500


def crlf(data):
    """As a mail client would send it: every line ends in CRLF, bare CRs (RFC 5321 2.3.8 forbids them) become line ends."""
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return data if data.endswith(b"\r\n") else data + b"\r\n"


def without_added_fields(by_pop3, by_imap):
    """POP3 adds MIME fields to a message that has none and carries 8-bit bytes (behaviour.md, option m)."""
    head, _, _ = by_imap.partition(b"\r\n\r\n")
    if re.search(rb"^mime-version:", head, re.I | re.M) or not re.search(rb"[\x80-\xff]", by_imap):
        return by_pop3
    return re.sub(rb"MIME-Version: 1\.0\r\nContent-Type: [^\r]*\r\nContent-Transfer-Encoding: 8bit\r\n", b"", by_pop3, count=1)


class Corpus(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.files = corpus(COUNT)
        cls.site = Site()

    @classmethod
    def tearDownClass(cls):
        cls.site.close()

    def test_in_by_smtp_out_by_both(self):
        site = self.site
        site.add_user("corpus")
        sent = []
        with site.smtp_client() as client:
            for path in self.files:
                with open(path, "rb") as file:
                    data = crlf(file.read())
                sent.append(data)
                # send the bytes as they are: smtplib's data() only stuffs dots
                client.ehlo_or_helo_if_needed()
                self.assertEqual(client.mail("a@elsewhere.example", ["BODY=8BITMIME"])[0], 250)
                self.assertEqual(client.rcpt("corpus@example.org")[0], 250)
                code, text = client.data(data)
                self.assertEqual(code, 250, text)
        self.check("corpus", sent, trace=True)

    def test_in_by_maildir_out_by_both(self):
        site = self.site
        site.add_user("files")
        box = site.maildir("files")
        for sub in ("cur", "new", "tmp"):
            os.makedirs(os.path.join(box, sub))
        sent = []
        for number, path in enumerate(self.files):
            with open(path, "rb") as file:
                data = file.read()
            with open(os.path.join(box, "new", f"{1000000000 + number}.M1P1.host"), "wb") as file:
                file.write(data)
            # stored as it is; every LF that has no CR before it is sent as CRLF
            sent.append(data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        self.check("files", sent, trace=False)

    def check(self, user, sent, trace):
        pop3 = self.site.pop3_client(user)
        self.assertEqual(pop3.stat()[0], len(sent))
        sizes = [int(line.split()[1]) for line in pop3.list()[1]]
        imap = self.site.imap_client(user)
        imap.select(readonly=True)
        for number, want in enumerate(sent, 1):
            data = imap.fetch(str(number), "(RFC822.SIZE BODY.PEEK[])")[1]
            by_imap = data[0][1]
            self.assertIn(b"RFC822.SIZE %d " % len(by_imap), data[0][0])
            got = by_imap
            if trace:
                head, _, got = by_imap.partition(b"\r\nReceived: ")
                self.assertEqual(head, b"Return-Path: <a@elsewhere.example>")
                lines = got.split(b"\r\n")
                at = 1
                while lines[at][:1] in (b" ", b"\t"):
                    at += 1
                got = b"\r\n".join(lines[at:])
            # NUL cannot be sent by IMAP (RFC 3501 4.3.1)
            self.assertEqual(got, want.replace(b"\0", b"\x80"), f"message {number} by IMAP")
            pop3._putcmd(f"RETR {number}")
            self.assertTrue(pop3._getresp().startswith(b"+OK"))
            raw = b""
            while True:
                line = pop3.file.readline()
                if line == b".\r\n":
                    break
                raw += line[1:] if line.startswith(b".") else line
            self.assertEqual(len(raw), sizes[number - 1], f"size of message {number} by POP3")
            raw = without_added_fields(raw, by_imap)
            if not by_imap.endswith(b"\r\n"):
                by_imap += b"\r\n"
            self.assertEqual(raw.replace(b"\0", b"\x80"), by_imap, f"message {number} by POP3")
        pop3.quit()
        imap.logout()


if __name__ == "__main__":
    main()
