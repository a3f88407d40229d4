#!/usr/bin/env python3
"""Lists of UIDs that were damaged at random: what the store makes of one and writes back is what Dovecot reads without complaint, before
and after `doveadm force-resync`; a UID that could be read is kept, none is given twice, and UIDVALIDITY stays while it can be read.

    uidlist_fuzz.py [--driver PATH] [--seed N] [--count N] [--control] [--keep]

Prints `N passed, N failed` as its last line; skips where there is no Dovecot."""
import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

import crash_points


def damage(rng, lines):
    """The header is lines[0]."""
    at = rng.randrange(1, len(lines))
    kind = rng.choice(["drop", "double", "swap", "cut", "junk", "byte", "uid", "key", "name", "next", "blank", "end", "again"])
    if kind == "drop":
        del lines[at]
    elif kind == "double":
        lines.insert(at, lines[at])
    elif kind == "swap":
        other = rng.randrange(1, len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "cut":
        lines[at] = lines[at][:rng.randrange(len(lines[at]))]
    elif kind == "junk":
        lines.insert(at, bytes(rng.choice(b" :0123456789abWSP/\t\r\x00\xff") for _ in range(rng.randrange(1, 20))))
    elif kind == "byte":
        where = rng.randrange(len(lines[at]) + 1)
        lines[at] = lines[at][:where] + bytes([rng.randrange(11, 256)]) + lines[at][where + 1:]
    elif kind == "uid":
        lines[at] = str(rng.choice([0, 1, 2**31, 2**32 - 2, 2**32 - 1, 2**32, 7, 10**20])).encode() + b" " + lines[at].partition(b" ")[2]
    elif kind == "key":
        lines[at] = lines[at].replace(b" :", rng.choice([b" W9 :", b" Psome :", b" Zx Yz :", b"  :", b" w :", b":"]), 1)
    elif kind == "name":
        lines[at] = lines[at].partition(b":")[0] + b":" + rng.choice([b"", b".x", b"a/b", b"x" * 300, b"1.a:2,S", b"\xc3\xa4", b" "])
    elif kind == "next":
        lines[0] = re.sub(rb"N\d+", b"N" + rng.choice([b"1", b"2", b"100", b"2000000000"]), lines[0])
    elif kind == "blank":
        lines.insert(at, b"")
    elif kind == "again":
        lines.append(str(900 + rng.randrange(9)).encode() + b" " + lines[at].partition(b" ")[2])
    return kind


class Fuzz(crash_points.Tester):
    def one(self, rng, number):
        site = self.template.copy(os.path.join(self.top, f"fuzz{number}"))
        path = os.path.join(site.control or site.mail + "/joe/Maildir", "dovecot-uidlist")
        with open(path, "rb") as f:
            lines = f.read().splitlines()
        validity = re.search(rb"V(\d+)", lines[0]).group(1)
        kinds = [damage(rng, lines) for _ in range(rng.choice([1, 1, 2, 4])) if len(lines) > 1]
        text = b"\n".join(lines) + (b"" if "end" in kinds else b"\n")
        with open(path, "wb") as f:
            f.write(text)
        for cached in ("postern-index", "postern-cache"):
            if os.path.exists(site.mail + "/joe/Maildir/" + cached):
                os.unlink(site.mail + "/joe/Maildir/" + cached)
        found = []
        answers, code = self.run(site, ["append INBOX fresh 1 S -", "list INBOX"])
        if code != 0 or len(answers) != 2 or any(status != "OK" for status, _ in answers):
            # a list that leaves no UID to give is the one good reason
            if not any("no UIDs left" in status for status, _ in answers):
                found.append(f"the store says {[status for status, _ in answers]} {code}")
        else:
            before = self.read(site)["INBOX"]
            theirs, complaints = self.read_by_dovecot(site)
            if str(before[0]).encode() != validity:
                found.append(f"UIDVALIDITY is {before[0]}")
            if theirs.get("INBOX", {}) != before[1]:
                found.append(f"Dovecot sees {theirs.get('INBOX')}, the store {before[1]}")
            if sorted(before[1].values()) != ["fresh", "m1", "m2", "m3", "waiting"]:
                found.append(f"the store sees {before[1]}")
            env = {"PATH": os.environ.get("PATH", ""), "HOME": site.mail + "/joe", "USER": "joe"}
            subprocess.run([self.dovecot, "-c", site.top + "/dovecot.conf", "force-resync", "INBOX"], env=env, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self.user)
            _, complaints = self.read_by_dovecot(site)
            found += complaints
            after = self.read(site)["INBOX"]
            if after != before:
                found.append(f"after force-resync {after}, before {before}")
        if not found or not self.options.keep:
            shutil.rmtree(site.top, ignore_errors=True)
        self.say(not found, f"{number} {kinds} {text}: " + "; ".join(found))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", default=os.path.join(os.environ.get("POSTERN_BUILD", "."), "tests/e2e/maildir_driver"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--control", action="store_true", help="control files outside the Maildir, as Dovecot's CONTROL=")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    options.driver = os.path.abspath(options.driver)
    if shutil.which("doveadm") is None:
        print("SKIP: there is no dovecot")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    print(f"seed {options.seed}", flush=True)
    rng = random.Random(options.seed)
    top = tempfile.mkdtemp(prefix="uidlist.")
    os.chmod(top, 0o755)
    try:
        fuzz = Fuzz(options, top)
        for number in range(options.count):
            fuzz.one(rng, number)
    finally:
        if not options.keep:
            shutil.rmtree(top, ignore_errors=True)
    print(f"{fuzz.passed} passed, {fuzz.failed} failed")
    return 1 if fuzz.failed else 0


if __name__ == "__main__":
    sys.exit(main())
