#!/usr/bin/env python3
"""The referee of a shared Maildir: the store of Postern (maildir_driver) and a private Dovecot work on one mailbox with random
operations, in turn and at the same time, while the driver is stopped, continued and killed. Both must always report the same
UIDVALIDITY, UIDNEXT, messages, folders and subscriptions, and no message may be lost or doubled.

    referee.py [--driver PATH] [--seed N] [--steps N] [--bursts N] [--kills N] [--control] [--keep]

Prints `N passed, N failed` as its last line; skips where there is no Dovecot."""
import argparse
import collections
import imaplib
import os
import pwd
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from ports import free_port

UUID = "0d1c5e0a-66a1-4c2f-9c2b-3f1e0a7b9c11"
LETTERS = {"D": "\\Draft", "F": "\\Flagged", "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}
KEYWORDS = ["$Forwarded", "Junk", "NonJunk", "$MDNSent", "work", "later", "Red", "blue"]
FORBIDDEN = ("reappeared", "Duplicate", "Broken file", "Corrupted", "Panic")
FOLDERS = ["INBOX", "a", "a.b", "Sent"]
imaplib._MAXLINE = 50_000_000


class Refused(Exception):
    """The side answered NO."""


class Died(Exception):
    """The driver was killed before it answered."""


Message = collections.namedtuple("Message", "uid flags keywords size marker")


class Dovecot:
    """A private Dovecot in a temporary directory, ended by its own PID."""

    def __init__(self, top, mail, control):
        self.base = os.path.join(top, "dovecot")
        self.log = os.path.join(top, "dovecot.log")
        self.conf = os.path.join(top, "dovecot.conf")
        self.control = control
        self.mail = mail
        os.mkdir(self.base, 0o755)

    def start(self):
        self.port = free_port()
        root = os.geteuid() == 0
        owner = pwd.getpwnam("nobody") if root else pwd.getpwuid(os.geteuid())
        group = "nogroup" if root else __import__("grp").getgrgid(os.getegid()).gr_name
        uid, gid = (owner.pw_uid, owner.pw_gid) if root else (os.geteuid(), os.getegid())
        chroots = "" if root else "service anvil {\n chroot =\n}\nservice stats {\n chroot =\n}\n"
        location = f"maildir:{self.mail}/%u/Maildir" + (f":CONTROL={self.control}/%u" if self.control else "")
        with open(self.conf, "w") as f:
            f.write(f"""base_dir = {self.base}
state_dir = {self.base}
log_path = {self.log}
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_login_user = {owner.pw_name}
default_internal_user = {owner.pw_name}
default_internal_group = {group}
first_valid_uid = {uid}
first_valid_gid = {gid}
mail_location = {location}
maildir_very_dirty_syncs = no
mailbox_list_index = no
mail_max_userip_connections = 50
namespace inbox {{
 inbox = yes
 separator = .
}}
passdb {{
 driver = static
 args = password=secret
}}
userdb {{
 driver = static
 args = uid={uid} gid={gid} home={self.mail}/%u
}}
service imap-login {{
 {'' if root else 'chroot ='}
 inet_listener imap {{
  port = {self.port}
 }}
 inet_listener imaps {{
  port = 0
 }}
}}
{chroots}""")
        self.process = subprocess.Popen(["dovecot", "-F", "-c", self.conf], stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT,
                                        stdout=open(os.path.join(os.path.dirname(self.conf), "dovecot.out"), "w"))
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise RuntimeError("dovecot did not start, see " + self.log)
                time.sleep(0.05)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def complaints(self):
        with open(self.log, errors="replace") as f:
            return [line.rstrip() for line in f if any(word in line for word in FORBIDDEN)]

    def remarks(self):
        with open(self.log, errors="replace") as f:
            return [line.rstrip() for line in f if "Error:" in line or "Warning:" in line]


class DovecotSide:
    name = "dovecot"

    def __init__(self, dovecot):
        self.dovecot = dovecot
        self.imap = imaplib.IMAP4("127.0.0.1", dovecot.port, timeout=150)
        self.imap.login("joe", "secret")

    def call(self, method, *args):
        status, data = method(*args)
        if status != "OK":
            raise Refused(f"{args}: {data}")
        return data

    def select(self, folder):
        if self.imap.state == "SELECTED":
            self.call(self.imap.unselect)
        self.call(self.imap.select, folder)

    def list(self, folder):
        self.select(folder)
        validity = int(self.imap.response("UIDVALIDITY")[1][0])
        data = self.call(self.imap.uid, "FETCH", "1:*", "(UID FLAGS RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        following = int(self.imap.response("UIDNEXT")[1][0])
        messages = []
        for item in data:
            if not isinstance(item, tuple):
                continue
            head = item[0].decode()
            words = re.search(r"FLAGS \(([^)]*)\)", head).group(1).split()
            marker = re.search(r"<([^>]*)>", item[1].decode())
            messages.append(Message(int(re.search(r"UID (\d+)", head).group(1)),
                                    frozenset(l for l, f in LETTERS.items() if f in words),
                                    frozenset(w.lower() for w in words if not w.startswith("\\")),
                                    int(re.search(r"RFC822.SIZE (\d+)", head).group(1)), marker.group(1) if marker else "-"))
        return validity, following, sorted(messages)

    def append(self, folder, marker, lines, flags, keywords):
        text = f"From: a@example.com\r\nMessage-ID: <{marker}>\r\nSubject: referee\r\n\r\n"
        text += "".join(f"line {i} of {marker}\r\n" for i in range(lines))
        self.call(self.imap.append, folder, "(" + " ".join([LETTERS[f] for f in flags] + list(keywords)) + ")", None, text.encode())

    def deliver(self, folder, marker, lines):
        self.append(folder, marker, lines, [], [])

    def store(self, folder, uids, how, flags, keywords):
        self.select(folder)
        words = "(" + " ".join([LETTERS[f] for f in flags] + list(keywords)) + ")"
        self.call(self.imap.uid, "STORE", sequence(uids), {"add": "+", "remove": "-", "replace": ""}[how] + "FLAGS", words)

    def expunge(self, folder, uids):
        self.store(folder, uids, "add", "T", [])
        self.call(self.imap.uid, "EXPUNGE", sequence(uids))

    def copy(self, folder, uids, target):
        self.select(folder)
        self.call(self.imap.uid, "COPY", sequence(uids), target)

    def move(self, folder, uids, target):
        self.select(folder)
        self.call(self.imap.uid, "MOVE", sequence(uids), target)

    def leave(self):
        if self.imap.state == "SELECTED":
            self.call(self.imap.unselect)

    def create(self, folder):
        self.call(self.imap.create, folder)

    def delete(self, folder):
        self.leave()
        self.call(self.imap.delete, folder)

    def rename(self, folder, target):
        self.leave()
        self.call(self.imap.rename, folder, target)

    def subscribe(self, folder, on):
        self.call(self.imap.subscribe if on else self.imap.unsubscribe, folder)

    def names(self, *what):
        self.imap.untagged_responses.pop("LIST", None)
        self.call(self.imap._simple_command, "LIST", *what, '""', '"*"')
        data = self.imap.response("LIST")[1]
        found = set()
        for line in data:
            if line is None:
                continue
            flags, name = re.match(r'\(([^)]*)\) "." "?([^"]*)"?$', line.decode()).groups()
            if what or ("\\NonExistent" not in flags and "\\Noselect" not in flags):
                found.add(name)
        return found

    def folders(self):
        return self.names(), self.names("(SUBSCRIBED)")


class PosternSide:
    name = "postern"

    def __init__(self, command, as_user):
        self.command = command
        self.as_user = as_user
        self.lock = threading.Lock()
        self.process = None
        self.start()

    def start(self):
        self.buffer = b""
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **self.as_user)
        self.answer()

    def line(self):
        while b"\n" not in self.buffer:
            if not select.select([self.process.stdout], [], [], 150)[0]:
                raise RuntimeError("the driver does not answer")
            got = os.read(self.process.stdout.fileno(), 65536)
            if not got:
                raise Died
            self.buffer += got
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def answer(self):
        lines = []
        while True:
            line = self.line()
            if line == "OK":
                return lines
            if line.startswith("NO "):
                raise Refused(line)
            lines.append(line)

    def send(self, *words):
        self.process.stdin.write((" ".join(words) + "\n").encode())
        self.process.stdin.flush()

    def call(self, *words):
        try:
            self.send(*words)
            return self.answer()
        except BrokenPipeError:
            raise Died

    def kill(self):
        self.process.kill()

    def restart(self):
        self.process.kill()
        code = self.process.wait(60)
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.stdout.close()
        try:
            self.start()
        except Died:        # killed again before it answered
            return self.restart()
        return code

    def list(self, folder):
        messages = []
        for line in self.call("list", folder):
            kind, *words = line.split(" ")
            if kind == "S":
                validity, following = int(words[0]), int(words[1])
            else:
                uid, size, flags, keywords, marker = words
                messages.append(Message(int(uid), frozenset(flags[:-1]), frozenset(k.lower() for k in keywords.split(",")[:-1]),
                                        int(size), marker))
        return validity, following, sorted(messages)

    @staticmethod
    def words_of(flags, keywords):
        return "".join(flags) + "-", ",".join(keywords) or "-"

    def append(self, folder, marker, lines, flags, keywords):
        self.call("append", folder, marker, str(lines), *self.words_of(flags, keywords))

    def deliver(self, folder, marker, lines):
        self.call("deliver", folder, marker, str(lines))

    def store(self, folder, uids, how, flags, keywords):
        self.call("store", folder, sequence(uids), how, *self.words_of(flags, keywords))

    def expunge(self, folder, uids):
        self.whole("E", len(uids), self.call("expunge", folder, sequence(uids), "forced"))

    def copy(self, folder, uids, target):
        self.whole("C", len(uids), self.call("copy", folder, sequence(uids), target))

    def move(self, folder, uids, target):
        self.whole("C", len(uids), self.call("move", folder, sequence(uids), target))

    @staticmethod
    def whole(kind, count, lines):
        """Nobody else removes these messages: none may have been skipped."""
        if lines != [" ".join([kind] + [str(count)] * (1 if kind == "E" else 2))]:
            raise Refused(f"only {lines} of {count}")

    def create(self, folder):
        self.call("create", folder)

    def delete(self, folder):
        self.call("delete", folder)

    def rename(self, folder, target):
        self.call("rename", folder, target)

    def subscribe(self, folder, on):
        self.call("subscribe" if on else "unsubscribe", folder)

    def folders(self):
        names, subscribed = set(), set()
        for line in self.call("folders"):
            _, name, exists, is_subscribed = line.split(" ")
            if exists == "1":
                names.add(name)
            if is_subscribed == "1":
                subscribed.add(name)
        return names, subscribed


def sequence(uids):
    return ",".join(str(u) for u in uids)


class Ledger:
    """How often each message must be in each folder. Operations cut short leave a doubt: any of several counts is right."""

    def __init__(self):
        self.counts = collections.Counter()
        self.doubts = {}
        self.lock = threading.Lock()

    def add(self, folder, marker, number):
        with self.lock:
            self.counts[folder, marker] += number
            if (folder, marker) in self.doubts:
                low, high = self.doubts[folder, marker]
                self.doubts[folder, marker] = (low + number, high + number)

    def doubt(self, folder, marker, number):
        """Maybe `number` more (or, negative, fewer)."""
        with self.lock:
            here = self.counts[folder, marker]
            low, high = self.doubts.get((folder, marker), (here, here))
            self.doubts[folder, marker] = (low + min(number, 0), high + max(number, 0))

    def rename(self, old, new):
        with self.lock:
            self.counts = collections.Counter({(new + f[len(old):] if f == old or f.startswith(old + ".") else f, m): n
                                               for (f, m), n in self.counts.items()})

    def drop(self, folder):
        with self.lock:
            self.counts = collections.Counter({k: n for k, n in self.counts.items() if k[0] != folder})

    def check(self, actual, may_vanish):
        """actual: Counter of (folder, marker). Afterwards what is there is what is expected."""
        wrong = []
        for key in set(self.counts) | set(actual):
            low, high = self.doubts.get(key, (self.counts[key],) * 2)
            if not low <= actual[key] <= high:
                wrong.append(f"{key}: {actual[key]} instead of {low}..{high}")
        there = {marker for (_, marker), n in actual.items() if n > 0}
        for (folder, marker) in self.doubts:
            if marker not in there and marker not in may_vanish:
                wrong.append(f"{marker} is lost")
        self.counts = actual.copy()
        self.doubts = {}
        return wrong


class Referee:
    def __init__(self, options, top):
        self.options = options
        self.random = random.Random(options.seed)
        self.top = top
        self.passed = self.failed = 0
        self.ledger = Ledger()
        self.may_vanish = set()
        self.serial = 0
        self.trace = []
        self.folders = list(FOLDERS)
        self.mail = os.path.join(top, "mail")
        os.mkdir(self.mail)
        control = os.path.join(self.mail, "control") if options.control else None
        as_user = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.mail, nobody.pw_uid, nobody.pw_gid)
            as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self.owner = os.stat(self.mail)
        with open(os.path.join(self.mail, "postern-postoffice"), "w") as f:
            f.write(UUID + "\n")
        self.dovecot = Dovecot(top, self.mail, control)
        self.dovecot.start()
        try:
            self.postern = PosternSide([options.driver, self.mail, UUID, "joe/Maildir", control + "/joe" if control else "-", "."], as_user)
        except BaseException:       # nobody else knows of it yet
            self.dovecot.stop()
            raise
        self.other = DovecotSide(self.dovecot)
        for folder in FOLDERS[1:]:
            self.random.choice([self.postern, self.other]).create(folder)

    def say(self, good, text):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print("FAILED:", text, flush=True)

    def marker(self, who):
        self.serial += 1
        return f"{who}-{self.serial}@referee"

    # --- comparing ---

    def differences(self):
        sides = [self.postern, self.other]
        self.random.shuffle(sides)
        lists = {side.name: side.folders() for side in sides}
        (names, subscribed), (other_names, other_subscribed) = lists["postern"], lists["dovecot"]
        found = []
        if names != other_names:
            found.append(f"folders: postern {sorted(names - other_names)}, dovecot {sorted(other_names - names)}")
        if subscribed != other_subscribed:
            found.append(f"subscriptions: postern {sorted(subscribed - other_subscribed)}, dovecot {sorted(other_subscribed - subscribed)}")
        actual = collections.Counter()
        for folder in sorted(names & other_names):
            states = {side.name: side.list(folder) for side in sides}
            mine, theirs = states["postern"], states["dovecot"]
            actual.update((folder, m.marker) for m in mine[2])
            if mine[:2] != theirs[:2]:
                found.append(f"{folder}: UIDVALIDITY and UIDNEXT postern {mine[:2]}, dovecot {theirs[:2]}")
            if mine[2] != theirs[2]:
                found.append(f"{folder}: postern {[m for m in mine[2] if m not in theirs[2]]}, dovecot {[m for m in theirs[2] if m not in mine[2]]}")
        return found, actual

    def compare(self, what):
        end = time.monotonic() + 30
        while True:
            found, actual = self.differences()
            if not found or time.monotonic() > end:
                break
            time.sleep(0.1)
        self.say(not found, f"{what}: the sides differ: {'; '.join(found)[:1500]}")
        wrong = self.ledger.check(actual, self.may_vanish)
        self.say(not wrong, f"{what}: {'; '.join(wrong)[:1500]}")
        for marker in {re.search(r"[a-z]+-[0-9]+@referee", text).group() for text in wrong[:3]}:
            print("\n".join(line for line in self.trace if marker + " " in line))

    # --- one random operation of one side ---

    def pick(self, rng, side, mine_only):
        """Some messages of some folder: (folder, [Message])."""
        folder = rng.choice(self.folders)
        messages = side.list(folder)[2]
        if mine_only:
            messages = [m for m in messages if m.marker.startswith(side.name)]
        rng.shuffle(messages)
        return folder, messages[:rng.choice([1, 1, 2, 5, 20])]

    def operate(self, rng, side, mine_only=False):
        """Runs it and books it; when it dies on the way, books the doubt."""
        kind = rng.choice(["deliver", "deliver", "append", "append", "store", "store", "store", "copy", "move", "move", "expunge",
                           "subscribe"])
        if kind in ("deliver", "append"):
            return self.operate_write(rng, side, kind)
        if kind == "subscribe":
            folder = rng.choice(self.folders)
            side.subscribe(folder, rng.random() < 0.6)
            return f"subscribe {folder}"
        folder, messages = self.pick(rng, side, mine_only and kind != "store")
        if not messages:
            return "nothing"
        uids = sorted(m.uid for m in messages)
        self.trace.append(f"{time.monotonic():.3f} {side.name} {kind} {folder} " + "".join(f"{m.uid} {m.marker} " for m in messages))
        if kind == "store":
            flags = rng.sample(sorted("DFRS"), rng.randrange(4))
            # In a burst a replacement could take \\Deleted off just before another side's EXPUNGE, which then rightly does nothing.
            change = rng.choice(["add", "remove"] if mine_only else ["add", "remove", "replace"])
            side.store(folder, uids, change, flags, rng.sample(KEYWORDS, rng.randrange(3)))
        elif kind == "expunge":
            self.may_vanish.update(m.marker for m in messages)
            self.booked(lambda: side.expunge(folder, uids), [(folder, m.marker, -1) for m in messages])
        else:
            target = rng.choice([f for f in self.folders if f != folder])
            changes = [(target, m.marker, 1) for m in messages]
            self.trace[-1] += f"to {target}"
            if kind == "move":
                changes += [(folder, m.marker, -1) for m in messages]
            self.booked(lambda: getattr(side, kind)(folder, uids, target), changes)
        return f"{kind} {folder} {uids}"

    def operate_write(self, rng, side, kind):
        folder, marker, lines = rng.choice(self.folders), self.marker(side.name), rng.choice([0, 1, 10, 300])
        self.may_vanish.add(marker)
        if kind == "deliver":
            self.booked(lambda: side.deliver(folder, marker, lines), [(folder, marker, 1)])
        else:
            flags, keywords = rng.sample(sorted("DFRS"), rng.randrange(3)), rng.sample(KEYWORDS, rng.randrange(3))
            self.booked(lambda: side.append(folder, marker, lines, flags, keywords), [(folder, marker, 1)])
        self.may_vanish.discard(marker)
        return f"{kind} {folder} {marker}"

    def booked(self, run, changes):
        try:
            run()
        except Died:
            for change in changes:
                self.ledger.doubt(*change)
            raise
        for change in changes:
            self.ledger.add(*change)

    # --- others, who take no lock ---

    def outsider(self):
        folder = self.random.choice(self.folders)
        path = os.path.join(self.mail, "joe/Maildir", "" if folder == "INBOX" else "." + folder)
        if self.random.random() < 0.5:
            marker = self.marker("outsider")
            name = f"{int(time.time())}.M{self.random.randrange(10**6)}P1.other"
            with open(os.path.join(path, "tmp", name), "w") as f:
                f.write(f"Message-ID: <{marker}>\n\nby an outsider\n")
            os.chown(os.path.join(path, "tmp", name), self.owner.st_uid, self.owner.st_gid)
            os.rename(os.path.join(path, "tmp", name), os.path.join(path, "new", name))
            self.ledger.add(folder, marker, 1)
            return f"outsider delivers to {folder}"
        names = sorted(os.listdir(os.path.join(path, "cur")))
        if not names:
            return "nothing"
        name = self.random.choice(names)
        base, _, letters = name.partition(":2,")
        changed = "".join(sorted(set(letters) ^ {self.random.choice("FRS")}))
        os.rename(os.path.join(path, "cur", name), os.path.join(path, "cur", f"{base}:2,{changed}"))
        return f"outsider renames {name} in {folder}"

    # --- folders ---

    def folder_operation(self, side):
        extra = [f for f in self.folders if f not in FOLDERS]
        kind = self.random.choice(["create", "rename", "delete"]) if extra else "create"
        fresh = self.random.choice(["", "", "a."]) + f"f{self.serial}"
        self.serial += 1
        if kind == "create":
            side.create(fresh)
            self.folders.append(fresh)
            return f"create {fresh}"
        folder = self.random.choice(extra)
        if kind == "rename":
            side.rename(folder, fresh)
            self.ledger.rename(folder, fresh)
            self.folders[self.folders.index(folder)] = fresh
            return f"rename {folder} {fresh}"
        side.delete(folder)
        for (where, marker) in list(self.ledger.counts):
            if where == folder:
                self.may_vanish.add(marker)
        self.ledger.drop(folder)
        self.folders.remove(folder)
        return f"delete {folder}"

    # --- the two modes ---

    def in_turn(self, steps, kills):
        killed = set(self.random.sample(range(steps), min(kills, steps)))
        for step in range(steps):
            side = self.random.choice([self.postern, self.other])
            dice = self.random.random()
            try:
                if step in killed:
                    what = self.killed_operation()
                elif dice < 0.1:
                    what = side.name + " " + self.folder_operation(side)
                elif dice < 0.25:
                    what = self.outsider()
                else:
                    what = side.name + " " + self.operate(self.random, side)
            except Refused as refusal:
                self.say(False, f"step {step}: {side.name} refused: {refusal}")
                what = "refused"
            self.compare(f"step {step} ({what})")

    def killed_operation(self):
        killer = threading.Timer(self.random.random() * 0.012, self.postern.kill)
        killer.start()
        what = "finished"
        try:
            while True:
                what = self.operate(self.random, self.postern)
        except Died:
            pass
        finally:
            killer.cancel()
            code = self.postern.restart()
        self.say(code == -signal.SIGKILL, f"the driver ended with {code}")
        return f"killed after {what}"

    def worker(self, side, seed, count, failures):
        rng = random.Random(seed)
        for _ in range(count):
            try:
                self.operate(rng, side, mine_only=True)
            except Died:
                code = side.restart()
                if code != -signal.SIGKILL:
                    failures.append(f"the driver ended with {code}")
                    return
            except Refused as refusal:
                failures.append(f"{side.name} refused: {refusal}")
            except Exception as error:
                failures.append(f"{side.name}: {error!r}")
                return

    def burst(self, number, kills):
        """All at once: the driver, two Dovecot sessions, and somebody who stops, continues and kills the driver."""
        failures = []
        sides = [self.postern, self.other, self.second]
        threads = [threading.Thread(target=self.worker, args=(side, self.random.randrange(2**32), self.options.length, failures))
                   for side in sides]
        for thread in threads:
            thread.start()
        while threads[0].is_alive():
            time.sleep(self.random.random() * 0.2)
            process = self.postern.process
            try:
                if kills > 0 and self.random.random() < 0.2:
                    kills -= 1
                    process.send_signal(signal.SIGKILL)
                else:
                    process.send_signal(signal.SIGSTOP)
                    time.sleep(self.random.choice([0.01, 0.05, 0.3]))
            finally:
                process.send_signal(signal.SIGCONT)
        for thread in threads:
            thread.join()
        try:
            self.postern.folders()
        except Died:
            self.postern.restart()
        self.say(not failures, f"burst {number}: {failures}")
        self.compare(f"burst {number}")

    def run(self):
        self.compare("start")
        self.in_turn(self.options.steps, self.options.kills)
        self.second = DovecotSide(self.dovecot)
        self.second.name = "second"
        for number in range(self.options.bursts):
            self.burst(number, self.options.kills)
        subprocess.run(["doveadm", "-c", self.dovecot.conf, "force-resync", "-u", "joe", "*"], check=True)
        self.compare("after force-resync")
        self.say(sum(self.ledger.counts.values()) > 0, "no message was there at the end")

    def end(self):
        self.postern.process.stdin.close()
        code = self.postern.process.wait(30)
        self.say(code == 0, f"the driver ended with {code}")
        self.dovecot.stop()
        complaints = self.dovecot.complaints()
        self.say(not complaints, f"Dovecot's log: {complaints[:10]}")
        for line in self.dovecot.remarks()[:20]:
            print("log:", line)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", default=os.path.join(os.environ.get("POSTERN_BUILD", "."), "tests/e2e/maildir_driver"))
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--bursts", type=int, default=4)
    parser.add_argument("--length", type=int, default=30, help="operations of each side in a burst")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--control", action="store_true", help="control files outside the Maildir, as Dovecot's CONTROL=")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    options.driver = os.path.abspath(options.driver)
    if shutil.which("dovecot") is None:
        print("SKIP: there is no dovecot")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    print(f"seed {options.seed}", flush=True)
    top = tempfile.mkdtemp(prefix="referee.")
    os.chmod(top, 0o755)
    # It runs as another user, who may not be able to see the build folder.
    options.driver = shutil.copy(options.driver, os.path.join(top, "maildir_driver"))
    referee = None
    try:
        referee = Referee(options, top)
        try:
            referee.run()
        finally:
            referee.end()
    finally:
        if referee is not None:
            referee.dovecot.stop()
            if referee.postern.process.poll() is None:
                referee.postern.process.kill()
        if options.keep:
            print("kept", top)
        else:
            shutil.rmtree(top, ignore_errors=True)
    print(f"{referee.passed} passed, {referee.failed} failed")
    return 1 if referee.failed else 0


if __name__ == "__main__":
    sys.exit(main())
