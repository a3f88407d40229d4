#!/usr/bin/env python3
"""POP3 through a post office link: posternd in front of a real Dovecot that shares the post office's Maildirs, held against the same mailbox
opened directly."""
import os
import poplib
import signal
import unittest

from dovecot import Dovecot, become_nobody, is_missing
from harness import Site, corpus, main, poll

poplib._MAXLINE = 1_000_000
MESSAGES = 50


class Link(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if is_missing():
            raise unittest.SkipTest("no Dovecot with IMAP")
        cls.site = Site()
        cls.addClassCleanup(cls.site.close)
        place = os.path.join(cls.site.dir, "dovecot")
        os.mkdir(place)
        cls.poa = Dovecot(place, os.path.join(cls.site.dir, "mail", "sales"))
        cls.addClassCleanup(cls.poa.stop)
        cls.poa.start()
        cls.office = f"cn=Sales,ou=mail,{cls.site.suffix}"
        cls.site.ldap("ldapadd", text=f"dn: cn=POA,{cls.office}\nobjectClass: posternPostOfficeAgent\ncn: POA\nposternHost: 127.0.0.1\n"
                                      f"posternPort: {cls.poa.port}\nposternTls: disabled\n\n")
        cls.fill("alice", [open(path, "rb").read() for path in corpus(MESSAGES, seed=4)])
        for user in ("quitter", "viewer", "loser"):
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

    def goes_to_the_poa(self):
        try:
            client = self.site.imap_client("alice")
        except Exception:
            return None
        client.xatom("ID", "NIL")
        relayed = b"Dovecot" in (client.response("ID")[1][0] or b"")
        client.logout()
        return relayed

    def login(self, user, options=""):
        client = poplib.POP3("127.0.0.1", self.site.pop3, timeout=20)
        client.user(user + options)
        client.pass_("secret")
        return client

    def everything(self):
        client = self.login("alice")
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
        self.assertEqual(len(uids), MESSAGES)
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

    def test_view(self):
        self.set_mode("clientServer")
        with self.assertRaisesRegex(poplib.error_proto, r"SYS/PERM"):
            self.login("viewer", ":v=1")
        self.set_mode("clientServerAndDirect")
        client = self.login("viewer", ":v=1")
        client.retr(1)
        client.quit()
        self.assertEqual(self.login("viewer", ":v=1").stat()[0], 5)

    def test_lost(self):
        self.set_mode("clientServer")
        client = self.login("loser")
        client.dele(1)
        self.poa.stop(signal.SIGKILL)
        try:
            with self.assertRaisesRegex(poplib.error_proto, r"SYS/TEMP"):
                client.quit()
        finally:
            self.poa.start()
        poll(self.goes_to_the_poa, seconds=40, what="the way back to the POA")
        self.assertEqual(self.login("loser").stat()[0], 6)


if __name__ == "__main__":
    become_nobody()
    main()
