#!/usr/bin/env python3
"""Compares what FETCH and SEARCH answer with Dovecot's, over real messages in one Maildir that both read.

usage: fetch_compare.py [--count N] [--seed N] [--show]

Default: 300 messages. Corpus, build directory and the private Dovecot are as in structure.py; the build directory must hold tests/e2e/fetch_driver.
"""
import argparse
import os
import pwd
import random
import re
import shutil
import subprocess
import sys
import tempfile

from structure import JUSTIFIED as STRUCTURE_JUSTIFIED
from structure import Dovecot, corpus, free_port, mail_user, make_maildir, tokens, write_configuration

FETCHES = (
    "(FLAGS RFC822.SIZE)", "(INTERNALDATE)", "(ENVELOPE BODY BODYSTRUCTURE)", "(ENVELOPE BODYSTRUCTURE)",
    "(BODY.PEEK[])", "(BODY.PEEK[HEADER])", "(BODY.PEEK[TEXT])", "(RFC822.HEADER)", "(BODY.PEEK[1])", "(BODY.PEEK[1.MIME])", "(BODY.PEEK[2])",
    "(BODY.PEEK[2.MIME])", "(BODY.PEEK[3])", "(BODY.PEEK[1.1])", "(BODY.PEEK[1.2])", "(BODY.PEEK[1.1.MIME])", "(BODY.PEEK[2.1])", "(BODY.PEEK[2.HEADER])", "(BODY.PEEK[2.TEXT])",
    "(BODY.PEEK[2.1.MIME])", "(BODY.PEEK[2.HEADER.FIELDS (Subject From)])", "(BODY.PEEK[]<0.100>)", "(BODY.PEEK[]<100.3000>)",
    "(BODY.PEEK[]<3100.3000>)", "(BODY.PEEK[TEXT]<1.1000>)", "(BODY.PEEK[TEXT]<500.1>)", "(BODY.PEEK[1]<10.20>)", "(BODY.PEEK[1]<30.2000>)",
    "(BODY.PEEK[HEADER]<20.50>)", "(BODY.PEEK[HEADER.FIELDS (From To Subject Date Message-ID References)])",
    "(BODY.PEEK[HEADER.FIELDS (Subject From)] UID)", "(BODY.PEEK[HEADER.FIELDS (Received X-Mailer)])",
    "(BODY.PEEK[HEADER.FIELDS.NOT (Received From)])", "(BODY.PEEK[HEADER.FIELDS (From To)]<5.20>)",
)
SEARCHES = (
    "ALL", "SEEN", "UNSEEN", "LARGER 5000", "SMALLER 3000", "NOT LARGER 3000", "FROM ilug", "TO zzzz", "CC linux", "SUBJECT re:", "SUBJECT \"free\"",
    "HEADER Message-ID yahoo", "HEADER X-Mailer \"\"", "HEADER X-None \"\"", "HEADER Received localhost", "SENTSINCE 1-Aug-2002", "SENTBEFORE 1-Jul-2002",
    "SENTON 22-Aug-2002", "BODY money", "BODY unsubscribe", "BODY Linux", "TEXT spamassassin", "TEXT qmail", "OR FROM yahoo BODY hotmail", "NOT BODY the",
    "(SENTSINCE 1-Jan-2002 SUBJECT a) NOT FROM com", "1:50", "UID 10:20,30", "NOT 1:*",
)

# Differences that stand: the beginning of the command, and the file.
JUSTIFIED = (
    # "22 Jul 2002 0:4:52 +-0500": the day can be read (RFC 3501 6.4.4 disregards time and zone); Dovecot takes it for 1970.
    ("SEARCH SENTBEFORE", "00845.50e08b3f38d440f61b858415e012a9bb.txt"),
    ("SEARCH (SENTSINCE", "00645.dd7d8ec1eb687c5966c516b720fcc3d5.txt"),
    # "2002/09/14 Sat" and "Sat Sep 21 08:18:08 2002" are no dates of RFC 5322: they match nothing; Dovecot takes them for 1970.
    ("SEARCH SENTBEFORE", "00302.544366fa4cd0f5d210dd8443a1c2c95a.txt"),
    ("SEARCH SENTBEFORE", "00304.ed5fbfc3e6f2be662f29f43f172a1fb3.txt"),
    ("SEARCH SENTBEFORE", "00406.05e2214fea602970426862295f9b4a2e.txt"),
    # The word is in the header of an attached message, which is part of the body; Dovecot overlooks it.
    ("SEARCH BODY", "00721.39d6783c5838169bfa901056e6c8a5b2.txt"),
    ("SEARCH BODY", "01294.8c242aa8998042dd666b7f9db56a6a3e.txt"),
    ("SEARCH BODY", "01542.ed72bf2cd81ccd4c076533fb0af004e5.txt"),
    # Its Content-Type is broken (structure.py): text for us, nothing that is searched for Dovecot.
    ("SEARCH NOT BODY", "00204.4cf15f97b8ea08bfafab7d5091b8fbe7.txt"),
)


def is_justified(command, name, item=None):
    return item in STRUCTURE_JUSTIFIED.get(name, ()) or any(command.startswith(c) and name == n for c, n in JUSTIFIED)


def parse(lines):
    """UID -> items of FETCH responses, or the numbers of a SEARCH response."""
    found = {}
    for line in lines:
        if line.startswith(b"* SEARCH"):
            return [int(word) for word in line.split()[2:]]
        if not re.match(rb"\* \d+ FETCH ", line):
            continue
        line = re.sub(rb"(BODY\[[^\]]*\])", lambda m: m[1].replace(b" ", b"_").replace(b"(", b"{{").replace(b")", b"}}").upper(), line, count=1)
        words = tokens(line[line.index(b" FETCH (") + 7:].rstrip(b"\r\n"))[0]
        items = {words[i][1].decode(): words[i + 1] for i in range(0, len(words), 2)}
        found[int(items.pop("UID")[1])] = items
    return found


class Driver:
    def __init__(self, program, base, user):
        entry, root = pwd.getpwnam(user), os.getuid() == 0
        if root:
            os.chown(base, entry.pw_uid, entry.pw_gid)
        who = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []} if root else {}
        self.process = subprocess.Popen([program, base, "home/Maildir"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **who)

    def command(self, text):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()
        while True:
            line = self.process.stdout.readline()
            while (literal := re.search(rb"\{(\d+)\}\r\n$", line)):
                line += self.process.stdout.read(int(literal[1])) + self.process.stdout.readline()
            if line == b"END\n":
                return
            if not line:
                raise EOFError(f"fetch_driver ended at {text}")
            yield line

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        return self.process.returncode


def same(item, ours, theirs):
    """What does not exist is NIL for us and may be an empty string for Dovecot; \\Recent belongs to one session only."""
    if item == "FLAGS":
        return [f for f in ours if f != ("atom", b"\\Recent")] == [f for f in theirs if f != ("atom", b"\\Recent")]
    if item in ("BODY", "BODYSTRUCTURE"):
        return lower(ours) == lower(theirs)
    return ours == theirs or (ours in (None, b"") and theirs in (None, b""))


def lower(value):
    """Dovecot writes text/plain in US-ASCII as it stands in the message, or in small letters, as its own cache has it."""
    return [lower(v) for v in value] if isinstance(value, list) else value.lower() if isinstance(value, bytes) else value


def compare(command, mine, other, names, show):
    wrong = []
    if isinstance(mine, list):
        wrong = [f"{command}: {names.get(uid, uid)} {'is ours only' if uid in mine else 'is missing'}" for uid in sorted(set(mine) ^ set(other))
                 if not is_justified(command, names.get(uid))]
    else:
        for uid in sorted(set(mine) | set(other)):
            a, b = mine.get(uid, {}), other.get(uid, {})
            for item in sorted(set(a) | set(b)):
                if is_justified(command, names.get(uid), item):
                    continue
                if item not in a or item not in b or not same(item, a[item], b[item]):
                    wrong.append(f"{command}: {names.get(uid, uid)}: {item} differs" + (f"\n  ours:    {a.get(item)}\n  Dovecot: {b.get(item)}" if show else ""))
    for text in wrong[:20]:
        print(text)
    return not wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="print both values of what differs")
    options = parser.parse_args()
    program = os.path.join(os.environ.get("POSTERN_BUILD", "."), "tests", "e2e", "fetch_driver")
    passed = failed = 0
    with tempfile.TemporaryDirectory(prefix="fetch-") as base:
        paths = corpus(base)
        paths = sorted(random.Random(options.seed).sample(paths, min(options.count, len(paths))))
        names = {uid: os.path.basename(path) for uid, path in enumerate(paths, 1)}
        user, port = mail_user(), free_port()
        make_maildir(base, paths, user)
        write_configuration(base, port, user)
        dovecot = Dovecot(base, port)
        try:
            list(dovecot.command("LOGIN postern secret"))
            list(dovecot.command("EXAMINE INBOX"))
            # It runs as another user, who may not be able to see the build folder.
            driver = Driver(shutil.copy(program, base), base, user)
            commands = [("FETCH " + f, "UID FETCH 1:* " + f) for f in FETCHES] * 2
            commands += [("SEARCH " + s, "UID SEARCH " + s) for s in SEARCHES]
            for ours, theirs in commands:
                good = compare(ours, parse(list(driver.command(ours))), parse(list(dovecot.command(theirs))), names, options.show)
                passed, failed = passed + good, failed + (not good)
            if driver.stop() != 0:
                failed += 1
                print("fetch_driver failed")
        finally:
            dovecot.stop()
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0 or passed == 0)


if __name__ == "__main__":
    main()
