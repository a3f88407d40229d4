#!/usr/bin/env python3
"""How long a client waits, in milliseconds (p50, p99, most): for the effect of a change in the directory, and for a whole session while
nothing else goes on, while the other post office is on a frozen file system, and while a stopped process holds the lock of a mailbox that
others want to write to. Asserts nothing about time.

usage: latency.py BUILD_DIR [--edits N] [--sessions N] [--post-offices N]     (needs root and /dev/fuse for the frozen file system)

With --post-offices the first row is measured a second time with so many more post offices, each with a link, in the directory."""
import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

here = os.path.dirname(os.path.abspath(__file__))
parser = argparse.ArgumentParser()
parser.add_argument("build")
parser.add_argument("--edits", type=int, default=500)
parser.add_argument("--sessions", type=int, default=500)
parser.add_argument("--post-offices", type=int, default=0)
options = parser.parse_args()
os.environ["POSTERN_BUILD"] = os.path.abspath(options.build)
sys.argv = sys.argv[:1]
sys.path.insert(0, os.path.join(os.path.dirname(here), "e2e"))
import harness  # noqa: E402
import ldap_edit  # noqa: E402

MESSAGE = b"From: a@elsewhere.example\r\nSubject: x\r\n\r\n" + b"text\r\n" * 100


def report(what, took):
    took = sorted(took)
    print(f"| {what} | {took[len(took) // 2]:.2f} | {took[int(len(took) * .99) - 1]:.2f} | {took[-1]:.2f} | {len(took)} |", flush=True)


def add_post_offices(site):
    lines = []
    for i in range(options.post_offices):
        office = f"cn=Office {i},{site.agent_dn.split(',', 1)[1]}"
        lines.append(f"dn: {office}\nobjectClass: posternPostOffice\ncn: Office {i}\nposternPath: {site.dir}/mail/o{i}\nposternDomain: d{i}.example.net\n\n"
                     f"dn: cn=Link {i},{site.agent_dn}\nobjectClass: posternPostOfficeLink\ncn: Link {i}\nposternPostOffice: {office}\n"
                     f"posternPath: {site.dir}/mail/l{i}\n\n")
    site.ldap("ldapadd", text="".join(lines))
    harness.poll(lambda: site.ldap("ldapsearch", "-LLL", "-b", site.agent_dn, "(posternLinkState=... and *)", "dn").stdout.startswith("dn:"), 60,
                 "the status of so many")


def edits(site, what):
    """From the success of an ldapmodify to its effect on the next command of a connected client."""
    took = []
    s, reader, _ = site.raw(site.smtp)
    with ldap_edit.Editor(site) as editor:
        for number in range(options.edits):
            size = str(100_000 + number)
            editor.replace(site.agent_dn, "posternSmtpMaxMessageSize", size)
            began = time.perf_counter()
            while True:
                s.sendall(b"EHLO client\r\n")
                lines = [reader.readline()]
                while lines[-1][3:4] == b"-":
                    lines.append(reader.readline())
                if any(line[4:].split() == [b"SIZE", size.encode()] for line in lines):
                    break
            took.append((time.perf_counter() - began) * 1000)
    s.close()
    report(what, took)


def command(s, reader, text):
    s.sendall(b"t " + text + b"\r\n")
    while not reader.readline().startswith(b"t "):
        pass


def sessions(site, what):
    """Connect, log in, select, fetch, append, log out: one after the other."""
    took = []
    for _ in range(options.sessions):
        began = time.perf_counter()
        s, reader, _ = site.raw(site.imap)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        command(s, reader, b"LOGIN alice secret")
        command(s, reader, b"SELECT INBOX")
        command(s, reader, b"FETCH * (UID FLAGS)")
        s.sendall(b"t APPEND INBOX {%d}\r\n" % len(MESSAGE))
        reader.readline()
        s.sendall(MESSAGE + b"\r\n")
        while not reader.readline().startswith(b"t "):
            pass
        command(s, reader, b"LOGOUT")
        s.close()
        took.append((time.perf_counter() - began) * 1000)
    report(what, took)


def with_frozen_post_office(site):
    """The other post office lies on a FUSE file system that answers nothing; its users keep coming."""
    helper = os.path.join(options.build, "tests", "e2e", "frozen_fs")
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse") or not os.path.exists(helper):
        print("| the other post office frozen | - | - | - | needs root, /dev/fuse and tests/e2e/frozen_fs |")
        return
    path, real = os.path.join(site.dir, "mail", "research"), os.path.join(site.dir, "research-real")
    os.makedirs(real)
    shutil.copy(os.path.join(path, "postern-postoffice"), real)
    process = subprocess.Popen([helper, real, path], stderr=subprocess.DEVNULL)
    try:
        harness.poll(lambda: os.path.ismount(path), what="the mount")
        site.imap_client("frost").logout()
        process.send_signal(signal.SIGUSR1)
        victims = [site.raw(site.imap) for _ in range(30)]
        for s, _, _ in victims:
            s.sendall(b"a LOGIN frost secret\r\n")
        sessions(site, "session, the other post office frozen, 30 of its users waiting")
        for s, _, _ in victims:
            s.close()
    finally:
        process.kill()
        subprocess.run(["umount", "-l", path], check=False)
        process.wait()


def with_stopped_lock_holder(site):
    """A stopped process holds the uidlist lock of lena's INBOX, and ten clients of hers want to append to it."""
    site.imap_client("lena").select()
    lock = os.path.join(site.maildir("lena"), "dovecot-uidlist.lock")
    holder = subprocess.Popen([sys.executable, "-c", "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"])
    waiting = []
    try:
        with open(lock, "w") as file:
            file.write(f"{holder.pid}:{socket.gethostname()}")
        for _ in range(10):
            s, reader, _ = site.raw(site.imap)
            command(s, reader, b"LOGIN lena secret")
            s.sendall(b"t APPEND INBOX {%d}\r\n" % len(MESSAGE))
            reader.readline()
            s.sendall(MESSAGE + b"\r\n")
            waiting.append(s)
        sessions(site, "session, the lock of another mailbox held by a stopped process, 10 clients waiting for it")
    finally:
        for s in waiting:
            s.close()
        holder.kill()
        holder.wait()
        if os.path.exists(lock):
            os.unlink(lock)


def main():
    site = harness.Site()
    try:
        site.add_user("frost", office="Research", domain="research.example.org")
        site.add_user("lena")
        site.set_agent(posternStallSeconds="1")
        print("| what | p50 ms | p99 ms | most ms | times |\n|---|---:|---:|---:|---:|")
        edits(site, "effect of an edit on the next command")
        sessions(site, "session, nothing else going on")
        with_stopped_lock_holder(site)
        with_frozen_post_office(site)
        if options.post_offices > 0:
            add_post_offices(site)
            edits(site, f"effect of an edit on the next command, {options.post_offices:,} more post offices and links")
    finally:
        site.close()


main()
