#!/usr/bin/env python3
"""Every point at which a change of a mailbox can be cut short: maildir_driver runs one operation with crash_preload.c, which kills it
before its n-th system call or lets that call fail, for every n. Afterwards nothing acknowledged may be lost, nothing doubled, no UID and
no UIDVALIDITY changed; the operation given again must do its work; and Dovecot must read what is there as the store does.

    crash_points.py [--driver PATH] [--operation NAME] [--control] [--full] [--keep]

Prints `N passed, N failed` as its last line. Without Dovecot its part is left out."""
import argparse
import concurrent.futures
import errno
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile

UUID = "0d1c5e0a-66a1-4c2f-9c2b-3f1e0a7b9c11"
HERE = os.path.dirname(os.path.abspath(__file__))
FORBIDDEN = ("reappeared", "Duplicate", "Broken file", "Corrupted", "Panic", "Error")

# name: commands. All but `list` change something; the last one is what is acknowledged.
OPERATIONS = {
    "deliver": ["deliver INBOX fresh 3"],
    "append": ["append INBOX fresh 3 SF work,other"],
    "append to a folder without a list": ["append empty fresh 3 S work"],
    "copy": ["copy INBOX 1:2 a"],
    "move": ["move INBOX 1:2 a"],
    "store": ["store INBOX 1:3 add F newword"],
    "expunge": ["expunge INBOX 1:2 forced"],
    "list": ["list INBOX"],
    "list of an old version": ["list old"],
    "append to a list of an old version": ["append old fresh 2 S -"],
    "create": ["create b"],
    "delete": ["delete a"],
    "rename": ["rename a c"],
    "rename of INBOX": ["rename INBOX c"],
    "subscribe": ["subscribe a"],
}
TOUCHED = {"copy": ("m1", "m2"), "move": ("m1", "m2"), "expunge": ("m1", "m2"), "delete": ("n1", "n2"),
           "rename of INBOX": ("m1", "m2", "m3", "waiting")}

# how it is cut short: calls, errno (0: SIGKILL), from there on
MODES = [("kill", "change", 0, False), ("EIO once", "all", errno.EIO, False), ("no space from there on", "change", errno.ENOSPC, True),
         ("EMFILE once", "open", errno.EMFILE, False), ("EACCES once", "change", errno.EACCES, False)]


class Site:
    """A mail root with one user, `joe`; copied for each case."""

    def __init__(self, top, control):
        self.top = top
        self.mail = os.path.join(top, "mail")
        self.control = os.path.join(top, "control", "joe") if control else None

    def copy(self, top):
        subprocess.run(["cp", "-a", self.top, top], check=True)
        return Site(top, self.control is not None)

    def command(self, driver):
        return [driver, self.mail, UUID, "joe/Maildir", self.control or "-", "."]


class Tester:
    def __init__(self, options, top):
        self.options = options
        self.top = top
        self.passed = self.failed = 0
        self.user = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self.library = os.path.join(top, "crash_preload.so")
        subprocess.run([os.environ.get("CC", "cc"), "-D_GNU_SOURCE", "-shared", "-fPIC", "-O1", "-o", self.library,
                        os.path.join(HERE, "crash_preload.c"), "-ldl"], check=True)
        os.chmod(self.library, 0o755)
        self.dovecot = shutil.which("doveadm")
        self.template = Site(os.path.join(top, "template"), options.control)
        self.make_template()
        self.before = self.read(self.template)

    # --- running the driver ---

    def run(self, site, commands, **crash):
        """([(status, lines)] for each command answered, exit code)"""
        env = {"PATH": os.environ.get("PATH", ""), "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"}
        if crash:
            env.update({"LD_PRELOAD": self.library}, **{f"CRASH_{key.upper()}": str(value) for key, value in crash.items()})
        done = subprocess.run(site.command(self.options.driver), input="".join(c + "\n" for c in commands), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, env=env, timeout=120, **self.user)
        answers, lines = [], []
        for line in done.stdout.splitlines():
            if line == "OK" or line.startswith("NO "):
                answers.append((line, lines))
                lines = []
            else:
                lines.append(line)
        if "Sanitizer" in done.stderr:
            raise RuntimeError(done.stderr)
        return answers[1:], done.returncode      # the first OK is the start's

    def make_template(self):
        os.makedirs(os.path.join(self.template.mail, "joe"))
        with open(os.path.join(self.template.mail, "postern-postoffice"), "w") as f:
            f.write(UUID + "\n")
        os.makedirs(os.path.dirname(self.template.control) if self.template.control else self.template.top, exist_ok=True)
        os.chmod(self.top, 0o755)
        self.own(self.template.top)
        commands = ["create a", "create empty", "create old", "append INBOX m1 2 S work", "append INBOX m2 2 F -", "append INBOX m3 2 - -",
                    "append a n1 1 S -", "append a n2 1 - -", "append old o1 1 - -", "append old o2 1 S -", "subscribe empty"]
        answers, _ = self.run(self.template, commands)
        assert [status for status, _ in answers] == ["OK"] * len(commands), answers
        uidlist = os.path.join(self.template.control + "/.old" if self.template.control else self.template.mail + "/joe/Maildir/.old",
                               "dovecot-uidlist")
        with open(uidlist) as f:
            header, *lines = f.read().splitlines()
        validity = re.search(r"V(\d+)", header).group(1)
        with open(uidlist, "w") as f:
            f.write(f"1 {validity} 3\n" + "".join(line.replace(" :", " ") + "\n" for line in lines))
        answers, _ = self.run(self.template, ["deliver INBOX waiting 1"])
        assert answers[0][0] == "OK"

    def own(self, path):
        if self.user:
            subprocess.run(["chown", "-R", f"{self.user['user']}:{self.user['group']}", path], check=True)

    def read(self, site):
        """{folder: (validity, {uid: marker})} of all folders, by an undisturbed driver."""
        answers, code = self.run(site, ["folders"])
        names = [line.split()[1] for line in answers[0][1] if line.split()[2] == "1"]
        answers, code = self.run(site, [f"list {name}" for name in names])
        if code != 0 or len(answers) != len(names):
            raise RuntimeError(f"cannot be read: {answers} {code}")
        folders = {}
        for name, (status, lines) in zip(names, answers):
            if status != "OK":
                raise RuntimeError(f"{name} cannot be read: {status}")
            validity = next(int(line.split()[1]) for line in lines if line.startswith("S "))
            folders[name] = (validity, {int(line.split()[1]): line.split()[5] for line in lines if line.startswith("M ")})
        return folders

    def read_by_dovecot(self, site):
        """The same by doveadm, and what it logged."""
        location = f"maildir:{site.mail}/joe/Maildir" + (f":CONTROL={site.control}" if site.control else "")
        conf = os.path.join(site.top, "dovecot.conf")
        with open(conf, "w") as f:
            f.write(f"mail_location = {location}\nlog_path = {site.top}/dovecot.log\nstats_writer_socket_path =\n"
                    "first_valid_uid = 1\nmailbox_list_index = no\nnamespace inbox {\n inbox = yes\n separator = .\n}\n")
        env = {"PATH": os.environ.get("PATH", ""), "HOME": site.mail + "/joe", "USER": "joe"}
        done = subprocess.run([self.dovecot, "-c", conf, "fetch", "mailbox uid hdr.message-id", "mailbox", "*"], env=env,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, **self.user)
        folders = {}
        for block in done.stdout.split("\f"):
            fields = dict(line.split(": ", 1) for line in block.strip().splitlines() if ": " in line)
            if "uid" in fields:
                folders.setdefault(fields["mailbox"], {})[int(fields["uid"])] = fields["hdr.message-id"].strip("<>")
        log = site.top + "/dovecot.log"
        logged = (open(log, errors="replace").read() if os.path.exists(log) else "") + done.stdout
        return folders, [line for line in logged.splitlines() if any(word in line for word in FORBIDDEN)]

    # --- judging ---

    def problems(self, name, status, died, sticky, after, dovecot_first=False):
        """What is wrong in what is there after it."""
        found = []
        where = {}
        for folder, (validity, messages) in after.items():
            before = self.before.get("a" if folder == "c" and name == "rename" else folder)
            # Folder and control files lie in two directories, and Dovecot does not know that one of them has yet to follow.
            unlike = name == "rename" and folder == "c" and self.template.control and (died or sticky) and dovecot_first
            if before is not None and before[0] != validity and not unlike:
                found.append(f"UIDVALIDITY of {folder} was {before[0]} and is {validity}")
            for uid, marker in messages.items():
                where.setdefault(marker, []).append(folder)
                if before is not None and before[1].get(uid, marker) != marker:
                    found.append(f"UID {uid} of {folder} was {before[1][uid]} and is {marker}")
        if len({validity for validity, _ in after.values()}) != len(after):
            found.append("two folders have one UIDVALIDITY")
        done = status == "OK"
        touched = TOUCHED.get(name, ())
        for folder, (_, messages) in self.before.items():
            for uid, marker in messages.items():
                if marker in touched:
                    continue
                at = "c" if name == "rename" and folder == "a" and "c" in after else folder
                if where.get(marker) != [at] or after[at][1].get(uid) != marker:
                    found.append(f"{marker} should be UID {uid} in {at} and is in {where.get(marker)}")
        target = {"copy": "a", "move": "a", "rename of INBOX": "c"}.get(name)
        for marker in touched:
            places = sorted(where.get(marker, []))
            source = next(folder for folder, (_, messages) in self.before.items() if marker in messages.values())
            if name in ("expunge", "delete"):
                allowed = [[]] if done else [[], [source]]
            elif name == "copy":
                allowed = [[source, target]] if done else [[source]] + ([[source, target]] if died or sticky else [])
            else:
                allowed = [[target]] if done else [[source], [target], [source, target]]
            if places not in [sorted(a) for a in allowed]:
                found.append(f"{marker} is in {places} after {status or 'death'}, not in one of {allowed}")
        fresh = len(where.get("fresh", []))
        if "fresh" in " ".join(OPERATIONS[name]) and not (fresh == 1 if done else fresh <= (1 if died or sticky else 0)):
            found.append(f"the new message is there {fresh} times after {status or 'death'}")
        if done and name == "create" and "b" not in after or done and name == "rename" and ("c" not in after or "a" in after):
            found.append(f"folders are {sorted(after)} after {status}")
        if name == "rename" and ("a" in after) == ("c" in after):
            found.append(f"folders are {sorted(after)}")
        if name == "delete" and done and "a" in after:
            found.append("the folder is still there")
        return found

    def case(self, name, mode, number):
        how, calls, error, sticky = mode
        site = self.template.copy(os.path.join(self.top, f"{name}.{how}.{number}".replace(" ", "_")))
        found = []
        try:
            answers, code = self.run(site, OPERATIONS[name], calls=calls, at=number, how=error, sticky=int(sticky))
            died = code == -9
            if code not in (0, -9, 1) or (code == -9 and error != 0):
                found.append(f"the driver ended with {code}")
            status = answers[0][0].split()[0] if answers else None
            by_dovecot = complaints = None
            if self.dovecot and number % 2 == 0:
                by_dovecot, complaints = self.read_by_dovecot(site)
            after = self.read(site)
            if self.dovecot and number % 2 == 1:
                by_dovecot, complaints = self.read_by_dovecot(site)
            found += self.problems(name, status, died, sticky, after, number % 2 == 0 and self.dovecot)
            if by_dovecot is not None:
                ours = {folder: messages for folder, (_, messages) in after.items() if messages}
                if ours != by_dovecot:
                    found.append(f"Dovecot sees {by_dovecot}, the store {ours}")
                found += [f"Dovecot says: {line}" for line in complaints]
            if status == "NO" and not sticky:
                found += self.again(site, name)
        except Exception as problem:
            found.append(repr(problem))
        if not self.options.keep or not found:
            shutil.rmtree(site.top, ignore_errors=True)
        return [f"{name}, {how} at call {number}: {text}" for text in found]

    def again(self, site, name):
        """What was refused once is done when it is asked for again."""
        answers, code = self.run(site, OPERATIONS[name])
        status = answers[0][0] if answers else f"exit {code}"
        if status == "OK" or (status.startswith("NO") and re.search("exist|not.found|no folder", status) and name in ("create", "delete", "rename", "rename of INBOX")):
            return []
        return [f"asked for again it says {status}"]

    def count(self, name, calls):
        site = self.template.copy(os.path.join(self.top, "count"))
        report = os.path.join(site.top, "report")
        self.own(site.top)
        answers, code = self.run(site, OPERATIONS[name], calls=calls, at=0, how=0, sticky=0, report=report)
        with open(report) as f:
            number = int(f.read())
        found = self.problems(name, answers[0][0], False, False, self.read(site))
        shutil.rmtree(site.top)
        self.say(answers[0][0] == "OK" and not found, f"{name}: undisturbed it answers {answers} {found}")
        return number

    def say(self, good, text):
        if good:
            self.passed += 1
        else:
            self.failed += 1
            print("FAILED:", text, flush=True)

    def everything(self):
        for name in OPERATIONS:
            if self.options.operation not in (None, name):
                continue
            for mode in MODES:
                points = self.count(name, mode[1])
                step = 1 if self.options.full else 2 if mode[0] == "kill" else 13
                # after a kill most of the time is waiting for the dead process's lock
                with concurrent.futures.ThreadPoolExecutor(8 if mode[0] == "kill" else os.cpu_count() or 2) as pool:
                    for found in pool.map(lambda number: self.case(name, mode, number), range(1 + points % step, points + 1, step)):
                        self.say(not found, "\n  ".join(found))
                print(f"{name}, {mode[0]}: {points} points", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", default=os.path.join(os.environ.get("POSTERN_BUILD", "."), "tests/e2e/maildir_driver"))
    parser.add_argument("--operation", choices=OPERATIONS)
    parser.add_argument("--control", action="store_true", help="control files outside the Maildir, as Dovecot's CONTROL=")
    parser.add_argument("--full", action="store_true", help="every point of every way, not every second kill and some failures")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    options.driver = os.path.abspath(options.driver)
    top = tempfile.mkdtemp(prefix="crash.")
    os.chmod(top, 0o755)
    try:
        tester = Tester(options, top)
        tester.everything()
    finally:
        if not options.keep:
            shutil.rmtree(top, ignore_errors=True)
    print(f"{tester.passed} passed, {tester.failed} failed")
    return 1 if tester.failed else 0


if __name__ == "__main__":
    sys.exit(main())
