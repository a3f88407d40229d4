#!/usr/bin/env python3
"""POP3 through a post office link: posternd in front of a real Dovecot that shares the post office's Maildirs, held against the same mailbox
opened directly."""
import glob
import imaplib
import os
import poplib
import queue
import re
import signal
import socket
import sys
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from dovecot import become_nobody, beside, name_agent
from harness import corpus, main, poll

poplib._MAXLINE = 1_000_000
MESSAGES = 50
BIG = 24_000_000    # more than all buffers on the way hold
KEEPS_METADATA = """
mail_attribute_dict = file:%h/dovecot-attributes
protocol imap {
 imap_metadata = yes
}
"""
WAYS = ("direct", "far", "both", "fallback")
OPTIONS = ("", ":m", ":n", ":s", ":l=3", ":t=2", ":t=2l=1", ":d", ":p", ":pl=2", ":v=1", ":v=31dl=4s")
# text in the way of dots, line ends and 8 bits; the first two are old
SAMPLES = [b"Subject: 0\r\n\r\n.\r\n..\r\n.x\r\n", b"Subject: 1\r\n\r\n", b"Subject: 2\r\n\r\n\r\n\r\n", b"Subject: 3\r\n\r\n" + b"x" * 70000 + b"\r\n",
           b"Subject: 4\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\ngr\xc3\xbcn\r\n", b"Subject: 5\r\n\r\nlast\r\n"]


TEXT_PART = b"--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + b".gr=FCn=\r\n!\r\n" * 7000
IMAGE_PART = b"--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n" + (b"A" * 76 + b"\r\n") * 5000
# more than is kept of a message for the option n
BIG_ONES = [b"Subject: big\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + parts + b"--b--\r\n"
            for parts in (TEXT_PART + IMAGE_PART, IMAGE_PART + TEXT_PART, IMAGE_PART)]


class Far:
    """Lets a port be as far away as one on another continent: what comes in goes on DELAY later, in both directions. What clients say is kept."""
    DELAY = 0.005

    def __init__(self, port):
        self.target = port
        self.said = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                for source, target in ((near, far), (far, near)):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    late = queue.Queue()
                    threading.Thread(target=self.take, args=(source, late, self.said if source is near else []), daemon=True).start()
                    threading.Thread(target=self.give, args=(late, target), daemon=True).start()
        except OSError:
            pass

    def take(self, source, late, said):
        data = b"more"
        while data:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            said.append(data)
            late.put((time.monotonic() + self.DELAY, data))

    def give(self, late, target):
        data = b"more"
        while data:
            due, data = late.get()
            time.sleep(max(0, due - time.monotonic()))    # the delay itself, not a wait for something
            try:
                target.sendall(data) if data else target.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


class Link(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.poa = beside(cls, more=KEEPS_METADATA)
        name_agent(cls, cls.poa, posternPoaTimeoutMilliseconds=20000, posternPoaLoginMilliseconds=20000)    # a busy machine does not make it away
        cls.fill("alice", [open(path, "rb").read() for path in corpus(MESSAGES, seed=4)] + BIG_ONES)
        for user in ("quitter", "viewer", "keeper", "loser"):
            cls.site.add_user(user)
            cls.fill(user, [f"Subject: {number}\r\n\r\nbody {number}\r\n.\r\n".encode() for number in range(6)])

    @classmethod
    def fill(cls, user, messages):
        client = cls.site.imap_client(user)
        for message in messages:
            message = message.replace(b"\0", b"").replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            answer = client.append("INBOX", None, None, message)
            if answer[0] != "OK":
                raise RuntimeError(f"APPEND: {answer}")
        client.logout()

    def set_mode(self, mode):
        self.site.modify(self.office, posternAccessMode=mode)
        poll(lambda: self.goes_to_the_poa() == (mode != "direct"), what=f"mode {mode}")

    def allow_both(self):
        """As soon as POA and path were found to show the same; that is found once."""
        self.set_mode("clientServerAndDirect")
        poll(lambda: "path show the same mailboxes" in self.site.log(), what="the comparison")

    def goes_to_the_poa(self):
        try:
            client = self.site.imap_client("alice")
            client.xatom("ID", "NIL")
            relayed = b"Dovecot" in (client.response("ID")[1][0] or b"")
            client.logout()
            return relayed
        except Exception:    # also of a session that the new mode closes at this moment
            return None

    def login(self, user, options=""):
        client = poplib.POP3("127.0.0.1", self.site.pop3, timeout=20)
        client.user(user + options)
        client.pass_("secret")
        return client

    def everything(self, options=""):
        client = self.login("alice", options)
        uids, sizes = client.uidl()[1], client.list()[1]
        texts = [client.retr(number + 1)[1] for number in range(len(uids))]
        tops = [client.top(number + 1, 3)[1] for number in range(len(uids))]
        client.close()    # no QUIT: nothing is marked
        return uids, sizes, texts, tops

    @staticmethod
    def without_added_fields(lines):
        """Directly, text in 8 bits without MIME fields is given such."""
        added = [b"MIME-Version: 1.0", b"Content-Transfer-Encoding: 8bit"]
        at = lines.index(b"") if b"" in lines else len(lines)
        header = lines[:at]
        if header[-3:-2] == added[:1] and header[-1:] == added[1:] and header[-2].startswith(b"Content-Type: text/plain; charset="):
            return lines[:at - 3] + lines[at:]
        return lines

    def test_same_as_directly(self):
        self.set_mode("direct")
        uids, sizes, texts, tops = self.everything()
        self.assertEqual(len(uids), MESSAGES + len(BIG_ONES))
        self.set_mode("clientServer")
        far_uids, far_sizes, far_texts, far_tops = self.everything()
        self.assertEqual(far_uids, uids)
        same = 0
        for near, far, near_size, far_size, near_top, far_top in zip(texts, far_texts, sizes, far_sizes, tops, far_tops):
            if far == near:
                self.assertEqual((far_size, far_top), (near_size, near_top))
                same += 1
            else:
                self.assertEqual(far, self.without_added_fields(near))
                self.assertEqual(far_top, self.without_added_fields(near_top))
            self.assertEqual(int(far_size.split()[1]), sum(len(line) + 2 for line in far))
        self.assertGreater(same, MESSAGES // 2)
        far_plain = self.everything(":n")
        self.set_mode("direct")
        for near, far in zip(self.everything(":n"), far_plain):
            self.assertEqual(far, near)

    def test_quit(self):
        self.set_mode("clientServer")
        client = self.login("quitter")
        uids = client.uidl()[1]
        self.assertEqual(client.retr(2)[1], [b"Subject: 1", b"", b"body 1", b"."])
        client.dele(1)
        client.dele(4)
        client.quit()
        client = self.login("quitter")
        self.assertEqual([line.split()[1] for line in client.uidl()[1]], [line.split()[1] for at, line in enumerate(uids) if at not in (0, 3)])
        client.dele(1)
        client.close()    # without QUIT nothing is removed
        self.assertEqual(self.login("quitter").stat()[0], 4)
        imap = self.site.imap_client("quitter")
        imap.select()
        self.assertEqual(imap.search(None, "SEEN")[1], [b"1"])
        imap.logout()
        client = self.login("quitter", ":d")
        client.retr(4)
        client.quit()
        client = self.login("quitter", ":pl=2")
        self.assertEqual(len(client.list()[1]), 2)
        client.retr(1)
        client.quit()
        imap = self.site.imap_client("quitter")
        self.assertEqual(imap.select()[1], [b"2"])
        self.assertEqual(imap.select("Trash")[1], [b"1"])
        imap.logout()

    def remember(self, user):
        """A session of view 1 that retrieves the first of six messages, and what the view shows then."""
        client = self.login(user, ":v=1")
        self.assertEqual(client.stat()[0], 6)
        client.retr(1)
        client.quit()
        self.assertEqual(self.login(user, ":v=1").stat()[0], 5)
        self.assertEqual(self.login(user, ":v=2").stat()[0], 6)

    def kept_files(self):
        return glob.glob(os.path.join(self.site.dir, "state", "pop3-views", "*"))

    def test_view_in_metadata(self):
        """And what a view has downloaded one way is not listed on another, with one gateway and with a second one that comes later."""
        self.set_mode("clientServer")
        before = self.kept_files()
        self.remember("viewer")
        kept = [path for path in self.kept_files() if path not in before]
        self.assertEqual(len(kept), 1, kept)
        with open(os.path.join(self.site.dir, "mail", "sales", "viewer", "dovecot-attributes")) as file:
            self.assertIn("vendor/postern/pop3-view-1", file.read())
        self.set_mode("direct")
        self.assertEqual(self.login("viewer", ":v=1").stat()[0], 5)
        os.unlink(kept[0])    # a gateway that has not served it before
        self.assertEqual(self.login("viewer", ":v=1").stat()[0], 6)
        self.allow_both()
        client = self.login("viewer", ":v=1")
        self.assertEqual(client.stat()[0], 5)
        client.retr(1)
        client.quit()
        for mode in ("direct", "clientServer"):
            self.set_mode(mode)
            self.assertEqual(self.login("viewer", ":v=1").stat()[0], 4, mode)

    def test_view_in_the_state_directory(self):
        self.set_mode("clientServer")
        self.restart_poa(KEEPS_METADATA, "")
        try:
            self.remember("keeper")
            self.assertEqual([path for path in self.kept_files() if path.endswith(".tmp")], [])
            # from the day on that it keeps METADATA both count, as when its files are opened
            self.restart_poa("", KEEPS_METADATA)
            client = self.login("keeper", ":v=1")
            client.retr(1)
            client.quit()
            self.assertEqual(self.login("keeper", ":v=1").stat()[0], 4)
            self.set_mode("clientServerAndDirect")
            self.assertEqual(self.login("keeper", ":v=1").stat()[0], 4)
        finally:
            self.restart_poa(KEEPS_METADATA, KEEPS_METADATA)

    def restart_poa(self, old, new):
        with open(self.poa.conf) as file:
            text = file.read()
        with open(self.poa.conf, "w") as file:
            file.write(text.replace(old, new) if old else text + new)
        self.poa.stop()
        self.poa.start()
        poll(self.goes_to_the_poa, what="the way back to the POA")

    def everything_of(self, user, options):
        """What a client sees that retrieves all but deletes the last, and what the next session shows."""
        seen = []
        for _ in range(2):
            client = self.login(user, options)
            count, octets = client.stat()
            listing = client.list()[1]
            uids = [re.sub(rb"[0-9a-f]{8}$", b"", line) for line in client.uidl()[1]]
            tops = [client.top(number + 1, 1)[1] for number in range(count)]
            texts = [client.retr(number + 1)[1] for number in range(count)]
            if "s" not in options:
                self.assertEqual([int(line.split()[1]) for line in listing], [sum(len(line) + 2 for line in text) for text in texts])
            if count:
                client.dele(count)
            client.quit()
            seen.append((count, octets, listing, uids, tops, texts))
        return seen

    def boxes(self, user):
        """None: a file that another program has just removed is still missed, not gone."""
        client, found = self.site.imap_client(user), {}
        for box in ("INBOX", "Trash"):
            if client.select(box, readonly=True)[0] != "OK":
                continue
            status, answer = client.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
            if status != "OK":
                return client.logout() and None
            found[box] = [(b"\\Seen" in part[0], part[1].strip()) for part in answer if isinstance(part, tuple)]
        client.logout()
        return found

    def add_samples(self, user):
        old = imaplib.Time2Internaldate(time.time() - 10 * 86400)
        self.site.add_user(user)
        client = self.site.imap_client(user)
        for number, text in enumerate(SAMPLES):
            self.assertEqual(client.append("INBOX", None, old if number < 2 else None, text)[0], "OK")
        client.logout()

    def test_every_option_on_every_way(self):
        self.set_mode("direct")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.add_samples, [f"{way}{at}" for way in WAYS for at, _ in enumerate(OPTIONS)]))
        seen = {}
        modes = {"direct": "direct", "far": "clientServer", "both": "clientServerAndDirect"}
        for way in WAYS:
            if way == "fallback":
                self.poa.stop(signal.SIGKILL)
            else:
                self.set_mode(modes[way])
            for at, options in enumerate(OPTIONS):
                seen[way, at] = self.everything_of(f"{way}{at}", options)
        for at, _ in enumerate(OPTIONS):
            for way in WAYS:
                seen[way, at].append(poll(lambda: self.boxes(f"{way}{at}"), what=f"an answer about {way}{at}"))
        self.poa.start()
        poll(self.goes_to_the_poa, what="the way back to the POA")
        for at, options in enumerate(OPTIONS):
            for way in WAYS[1:]:
                with self.subTest(options=options, way=way):
                    self.assertEqual(seen[way, at], seen["direct", at])

    def test_far_poa(self):
        """A client that retrieves all waits for few round trips, not for one a message. Prints what a message costs."""
        count = 1000 if "--full" in sys.argv else 200
        self.site.add_user("far")
        self.fill("far", [b"Subject: first\r\n\r\nx\r\n"])
        for number in range(count - 1):
            with open(os.path.join(self.site.maildir("far"), "new", f"1700000000.M{number}P1.far"), "wb") as file:
                file.write(f"Subject: {number}\n\n".encode() + b"some text that is as long as a line may be\n" * 50)
        self.set_mode("clientServer")
        agent, far = f"cn=POA,{self.office}", Far(self.poa.port)
        try:
            for way, port in (("at once", self.poa.port), ("5 ms later each way", far.port)):
                self.site.modify(agent, posternPort=port)
                poll(self.goes_to_the_poa, what="a login")
                if port == far.port:
                    poll(lambda: far.said, what="a login at the far one")
                client = self.login("far")
                began, before = time.monotonic(), b"".join(far.said).count(b" UID FETCH ")
                self.assertEqual(len(client.uidl()[1]), count)
                for number in range(count):
                    self.assertEqual(len(client.retr(number + 1)[1]), 52 if number else 3, number)
                each = (time.monotonic() - began) / count
                fetches = b"".join(far.said).count(b" UID FETCH ") - before
                client.close()
                print(f"time RETR of {count} messages over a POA that answers {way}: {each * 1000:.2f} ms each, {fetches} FETCH commands")
            self.assertIn(fetches, range(1, 5 + count // 40))
        finally:
            self.site.modify(agent, posternPort=self.poa.port)
            far.close()

    def test_unreadable_message(self):
        """Dovecot closes the connection at it: what comes before it is given, and what lies behind it can be had."""
        self.site.add_user("damaged")
        self.fill("damaged", [f"Subject: {number}\r\n\r\nbody {number}\r\n".encode() for number in range(12)])
        self.set_mode("clientServer")
        bad = [path for path in glob.glob(os.path.join(self.site.maildir("damaged"), "*", "*:2,*")) + glob.glob(os.path.join(self.site.maildir("damaged"), "new", "*"))
               if b"body 6" in open(path, "rb").read()]
        os.chmod(bad[0], 0)
        client = self.login("damaged")
        for number in range(6):
            self.assertEqual(client.retr(number + 1)[1][-1], b"body %d" % number)
        with self.assertRaisesRegex(poplib.error_proto, "SYS/TEMP"):
            client.retr(7)
        client = self.login("damaged")
        for number in range(7, 12):
            self.assertEqual(client.retr(number + 1)[1][-1], b"body %d" % number)
        client.quit()

    def read_to_the_end(self, client):
        data = b"more"
        count, last = 0, b""
        while data:
            try:
                data = client.sock.recv(1 << 20)
            except ConnectionError:
                data = b""
            count, last = count + len(data), (last + data)[-64:]
        return count, last

    def test_killed_within_a_message(self):
        """The client hears half of a message and no end; nothing is removed, there and where a client has just said QUIT; the next login sees the same
        mailbox, directly."""
        self.site.add_user("half")
        self.fill("half", [b"Subject: first\r\n\r\nx\r\n", b"Subject: to be replaced\r\n\r\n", b"Subject: third\r\n\r\nz\r\n"])
        with open(os.path.join(self.site.maildir("half"), "new", "1700000000.M1P1.big"), "wb") as file:
            file.write(b"Subject: big\n\n" + (b"x" * 990 + b"\n") * (BIG // 990))
        self.allow_both()
        poll(self.goes_to_the_poa, what="the POA")
        loser = self.login("loser")
        loser.dele(1)
        client = self.login("half")
        uids, sizes = client.uidl()[1], client.list()[1]
        client.dele(1)
        client.sock.sendall(b"RETR 4\r\n")
        self.assertEqual(client.sock.recv(3), b"+OK")
        self.poa.stop(signal.SIGKILL)
        try:
            with self.assertRaisesRegex(poplib.error_proto, r"SYS/TEMP"):
                loser.quit()
            self.assertEqual(self.login("loser").stat()[0], 6)
            count, last = self.read_to_the_end(client)
            self.assertLess(count, BIG * 3 // 4)
            self.assertFalse(last.endswith(b"\r\n.\r\n"), last)
            self.assertNotIn(b"-ERR", last)
            client = self.login("half")
            self.assertEqual((client.uidl()[1], client.list()[1]), (uids, sizes))
            self.assertGreater(sum(len(line) + 2 for line in client.retr(4)[1]), BIG)
            client.dele(2)
            client.quit()
        finally:
            self.poa.start()
        poll(self.goes_to_the_poa, seconds=40, what="the way back to the POA")
        kept = [line.split()[1] for line in uids]
        self.assertEqual([line.split()[1] for line in self.login("half").uidl()[1]], kept[:1] + kept[2:])

    def set_class(self, **values):
        self.site.modify(f"cn=Limited,{self.site.agent_dn}", **values)

    def logs_in_with(self, what, count, octets=None):
        """A login that sees so many messages; the session."""
        def attempt():
            client = self.login("limited")
            stat = client.stat()
            if stat[0] == count and octets in (None, stat[1]):
                return client
            client.close()
            return None
        return poll(attempt, what=what)

    def test_limits_changed_live(self):
        """Of a class of service: a session keeps what it has logged in with, the next one has the new limits; a right that is taken away ends it."""
        self.set_mode("clientServer")
        self.site.add_user("limited")
        self.fill("limited", [b"Subject: 0\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\nbody 0\r\n",
                              *[f"Subject: {number}\r\n\r\nbody {number}\r\n".encode() for number in range(1, 6)]])
        self.site.ldap("ldapadd", text=f"dn: cn=Limited,{self.site.agent_dn}\nobjectClass: posternClassOfService\ncn: Limited\n"
                                       f"posternMember: {self.site.user_dn('limited')}\nposternPop3MaxMessages: 4\n\n")
        first = self.logs_in_with("the limit of messages", 4)
        self.assertIn(b"Subject: 2", first.retr(1)[1])
        self.set_class(posternPop3MaxMessages="2", posternPop3PurgeAfterDownload="TRUE")
        second = self.logs_in_with("a new limit", 2)
        self.assertIn(b"Subject: 4", second.retr(1)[1])
        self.assertEqual(first.stat()[0], 4)
        self.assertIn(b"Subject: 5", first.retr(4)[1])
        first.quit()
        second.quit()
        self.set_class(posternPop3MaxMessages="0", posternPop3PurgeAfterDownload="FALSE", posternPop3HighPerformanceSize="TRUE")
        third = self.logs_in_with("no limit, one message less, and 1 KB each", 5, 5 * 1024)
        self.set_class(posternPop3DeleteAfterDownload="TRUE", posternPop3ConvertToMime="FALSE")
        poll(lambda: b"EXPIRE 0" in self.capa("limited"), what="delete after download")
        fourth = self.login("limited")
        self.assertEqual(fourth.top(1, 9)[1], [b"Subject: 0", b"", b"body 0"])
        self.assertIn(b"Content-Type: text/html", third.top(1, 9)[1])
        fourth.retr(2)
        fourth.quit()
        third.dele(1)
        third.sock.sendall(b"RETR 3\r\n")
        self.assertEqual(third.sock.recv(3), b"+OK")
        self.set_class(posternPop3Access="prevent")
        count, last = self.read_to_the_end(third)
        self.assertTrue(last.endswith(b"body 2\r\n.\r\n-ERR [SYS/PERM] Access was revoked.\r\n"), last)
        with self.assertRaisesRegex(poplib.error_proto, "AUTH"):
            self.login("limited")
        imap = self.site.imap_client("limited")
        self.assertEqual((imap.select()[1], imap.search(None, "SEEN")[1], imap.select("Trash")[1]), ([b"4"], [b"2 4"], [b"1"]))
        imap.logout()

    def capa(self, user):
        client = self.login(user)
        client._putcmd("CAPA")
        answer = client._getlongresp()[1]
        client.close()
        return answer


if __name__ == "__main__":
    become_nobody()
    main()
