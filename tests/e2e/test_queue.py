#!/usr/bin/env python3
"""Outbound mail from a user's submission to a relay host: postfix's smtp-sink, and a relay of our own that can refuse, hang and hang up."""
import email
import email.policy
import os
import shutil
import smtplib
import socket
import ssl
import subprocess
import threading
import unittest

from harness import FULL, Site, free_port, kill, main, poll

ELSEWHERE = "elsewhere.example"


def only_full(test):
    """A test that takes minutes: none of a quick run's."""
    return test if FULL else None


class Relay:
    """An SMTP server in threads. hang: the stage at which it says nothing more. refuse: stage or recipient -> reply."""

    def __init__(self, context=None, port=None):
        self.context = context
        self.port = port or free_port()
        self.hang = None
        self.refuse = {}
        self.messages = []      # (sender, recipients, data, TLS or not, parameters of MAIL)
        self.connections = 0
        self.release = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.open = True
        self.sockets = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while self.open:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.sockets.append(s)
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def close(self):
        if not self.open:
            return
        self.open = False
        self.release.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for s in self.sockets:
            s.close()

    def waits(self, stage):
        if self.hang == stage:
            self.release.wait(600)
        return self.hang == stage

    def serve(self, s):
        try:
            self.converse(s)
        except (OSError, ValueError):
            pass
        finally:
            s.close()

    def converse(self, s):
        tls, sender, parameters, recipients = False, None, "", []
        reader = s.makefile("rb")
        say = lambda text: s.sendall(text.encode() + b"\r\n")
        if self.waits("greeting"):
            return
        say(self.refuse.get("greeting", "220 relay.example ESMTP"))
        while True:
            line = reader.readline().decode().rstrip("\r\n")
            verb = line.split(" ")[0].upper()
            if not line or self.waits(verb):
                return
            if verb == "EHLO":
                say("250-relay.example\r\n250-SIZE 10000000\r\n250-8BITMIME" + ("\r\n250-STARTTLS" if self.context and not tls else "") + "\r\n250 HELP")
            elif verb == "STARTTLS" and self.context:
                say("220 go")
                s = self.context.wrap_socket(s, server_side=True)
                self.sockets.append(s)
                reader, tls = s.makefile("rb"), True
            elif verb == "MAIL":
                sender, _, parameters = line[10:].partition(">")
                sender, recipients = sender.lstrip("<"), []
                say(self.refuse.get("MAIL", "250 2.1.0 ok"))
            elif verb == "RCPT":
                to = line[8:].strip("<>")
                reply = self.refuse.get(to, "250 2.1.5 ok")
                say(reply)
                if reply[0] == "2":
                    recipients.append(to)
            elif verb == "DATA":
                if self.refuse.get("DATA"):
                    say(self.refuse["DATA"])
                    continue
                say("354 go")
                data = b""
                while not data.endswith(b"\r\n.\r\n"):
                    more = reader.readline()
                    if not more:
                        return
                    data += more
                if self.waits("."):
                    return
                reply = self.refuse.get(".", "250 2.0.0 taken")
                if reply[0] == "2":
                    self.messages.append((sender, recipients, data[:-3].replace(b"\r\n..", b"\r\n."), tls, parameters))
                say(reply)
            elif verb == "QUIT":
                say("221 bye")
                return
            else:
                say("500 what?")


class Queue(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site()
        cls.limits = list(range(20_000_000, 20_000_100))
        # The agent does not wait 20 minutes here, and not ten for a relay that hangs.
        cls.site.set_agent(posternDeferMinutes="1", posternSmtpReadMinutes="1", posternSmtpGreetingMinutes="1", posternSmtpConnectMinutes="1")

    @classmethod
    def tearDownClass(cls):
        log = cls.site.log()
        cls.site.close()
        if "bug:" in log or "Sanitizer" in log or "runtime error" in log:
            raise AssertionError("the gateway's log speaks of a bug:\n" + log[-5000:])

    def relay(self, **options):
        relay = Relay(**options)
        self.addCleanup(relay.close)
        self.use(relay.port)
        return relay

    def use(self, port):
        """The agent's relay host; the size limit is edited with it, so that EHLO tells when the agent has taken both."""
        limit = self.limits.pop()
        self.site.set_agent(posternRelayHost=port and f"127.0.0.1:{port}", posternSmtpMaxMessageSize=limit)

        def taken():
            with self.site.smtp_client() as client:
                client.ehlo()
                return client.esmtp_features["size"] == str(limit)
        poll(taken, what="the edit")

    def submit(self, to, user="alice", sender=None, subject="out", body=b"Hello.\r\n.dot\r\n"):
        site = self.site
        sender = sender or f"{user}@example.org"
        message = (f"From: {sender}\r\nTo: {', '.join(to)}\r\nSubject: {subject}\r\n\r\n").encode() + body
        with smtplib.SMTP_SSL("localhost", site.submissions, context=site.tls(), timeout=30) as client:
            client.login(user, "secret")
            return client.sendmail(sender, to, message)

    def spool(self):
        return [name for name in os.listdir(os.path.join(self.site.dir, "state", "queue")) if name.endswith(".envelope")]

    def inbox(self, user, subject):
        """Whole messages of a user whose subject holds this."""
        client = self.site.imap_client(user)
        client.select()
        found = [client.uid("FETCH", uid, "(BODY.PEEK[])")[1][0][1] for uid in client.uid("SEARCH", "SUBJECT", f'"{subject}"')[1][0].split()]
        client.logout()
        return found

    def notices(self, user):
        return [email.message_from_bytes(data, policy=email.policy.default) for data in self.inbox(user, "Undelivered")]

    def notice(self, user, to):
        """The notice that speaks of this recipient."""
        def look():
            for message in self.notices(user):
                if any(to in str(part["Final-Recipient"]) for part in list(message.iter_parts())[1].get_payload()):
                    return message
        return poll(look, what="a notice about " + to)

    def test_handed_over(self):
        relay = self.relay()
        self.submit([f"x@{ELSEWHERE}", f"y@{ELSEWHERE}"])
        poll(lambda: relay.messages, what="the relay's message")
        sender, recipients, data, tls, parameters = relay.messages[0]
        self.assertEqual((sender, recipients, tls), ("alice@example.org", [f"x@{ELSEWHERE}", f"y@{ELSEWHERE}"], False))
        self.assertIn(" SIZE=", parameters)
        message = email.message_from_bytes(data, policy=email.policy.default)
        self.assertIn("with ESMTPSA", message["Received"])
        self.assertTrue(data.endswith(b"\r\n\r\nHello.\r\n.dot\r\n"))
        self.assertNotIn(b"Return-Path", data)
        poll(lambda: not self.spool(), what="an empty spool")

    def test_smtp_sink(self):
        sink = shutil.which("smtp-sink") or "/usr/sbin/smtp-sink"
        if not os.path.exists(sink):
            raise AssertionError("smtp-sink is required and not installed (package postfix)")
        port, directory = free_port(), os.path.join(self.site.dir, "sink")
        os.mkdir(directory)
        process = subprocess.Popen([sink, "-u", "nobody" if os.getuid() == 0 else os.environ.get("USER", "nobody"), "-d", "m.", f"127.0.0.1:{port}", "50"],
                                   cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        os.chmod(self.site.dir, 0o711)
        os.chmod(directory, 0o777)
        try:
            def listens():
                with socket.socket() as s:
                    return s.connect_ex(("127.0.0.1", port)) == 0
            poll(listens, what="smtp-sink")
            self.use(port)
            big = b"".join(b"%06d ........ \r\n..\r\n.\xc3\xa9\r\n" % n for n in range(20000))
            self.submit([f"sink@{ELSEWHERE}"], body=big)
            poll(lambda: not self.spool(), what="an empty spool")
            name, = poll(lambda: os.listdir(directory), what="a file of smtp-sink")
            # it writes lines ending in LF
            with open(os.path.join(directory, name), "rb") as file:
                self.assertIn(big.replace(b"\r\n", b"\n"), file.read())
        finally:
            process.kill()
            process.communicate()

    def test_relay_down_kill_and_return(self):
        site = self.site
        port = free_port()
        self.use(port)
        self.submit([f"later@{ELSEWHERE}"], subject="patience")
        poll(lambda: f"later@{ELSEWHERE}>: deferred" in site.log(), what="a deferral")
        self.assertEqual(len(self.spool()), 1)
        agent = site.agent_pid()
        kill(agent)
        poll(lambda: site.agent_pid() not in (None, agent), what="another agent")
        poll(lambda: "1 messages taken up again" in site.log(), what="the queue's start")
        self.assertEqual(len(self.spool()), 1)
        # Its time has not come; a new relay host makes all mail due at once.
        relay = self.relay()
        poll(lambda: relay.messages, what="the relay's message")
        self.assertIn(b"Subject: patience", relay.messages[0][2])
        poll(lambda: not self.spool(), what="an empty spool")
        self.assertEqual(len(relay.messages), 1)

    @only_full
    def test_relay_comes_back_in_its_own_time(self):
        port = free_port()
        self.use(port)
        self.submit([f"own@{ELSEWHERE}"])
        poll(lambda: f"own@{ELSEWHERE}>: deferred" in self.site.log(), what="a deferral")
        relay = Relay(port=port)
        self.addCleanup(relay.close)
        poll(lambda: relay.messages, 90, "the next go after a minute")
        poll(lambda: not self.spool(), what="an empty spool")

    def test_refused_for_good(self):
        relay = self.relay()
        relay.refuse[f"gone@{ELSEWHERE}"] = "550 5.1.1 <gone> has left"
        self.submit([f"gone@{ELSEWHERE}"], subject="to nobody, né")
        notice = self.notice("alice", f"gone@{ELSEWHERE}")
        self.assertEqual(notice.get_content_type(), "multipart/report")
        self.assertEqual(notice.get_param("report-type"), "delivery-status")
        self.assertEqual(notice["Auto-Submitted"], "auto-replied")
        self.assertEqual(notice["Return-Path"], "<>")
        self.assertFalse(notice.defects)
        self.assertFalse([part.defects for part in notice.walk() if part.defects])
        self.assertEqual(notice["Content-Transfer-Encoding"], "8bit")
        text, status, headers = notice.iter_parts()
        self.assertIn("has left", text.get_content())
        message, recipient = status.get_payload()
        self.assertEqual(message["Reporting-MTA"], "dns; localhost")
        self.assertEqual(recipient["Action"], "failed")
        self.assertEqual(recipient["Status"], "5.1.1")
        self.assertEqual(recipient["Diagnostic-Code"], "smtp; 550 5.1.1 <gone> has left")
        self.assertEqual(headers.get_content_type(), "text/rfc822-headers")
        returned = headers.get_payload(decode=True).decode()
        self.assertIn("Subject: to nobody, né", returned)
        self.assertNotIn("Hello.", returned)
        poll(lambda: not self.spool(), what="an empty spool")
        self.assertEqual(relay.messages, [])

    def test_mixed_results(self):
        relay = self.relay()
        relay.refuse[f"bad@{ELSEWHERE}"] = "553 5.1.3 no"
        relay.refuse[f"busy@{ELSEWHERE}"] = "450 4.2.1 come again"
        to = [f"good@{ELSEWHERE}", f"bad@{ELSEWHERE}", f"busy@{ELSEWHERE}", "bob@example.org"]
        self.submit(to, subject="mixed")
        poll(lambda: relay.messages, what="the relay's message")
        self.assertEqual(relay.messages[0][1], [to[0]])
        self.assertEqual(len(self.inbox("bob", "mixed")), 1)
        self.notice("alice", to[1])
        poll(lambda: len(self.spool()) == 1, what="only the waiting recipient's message")
        with open(os.path.join(self.site.dir, "state", "queue", self.spool()[0])) as file:
            lines = file.read().split("\n")
        self.assertEqual([line for line in lines if line.startswith("recipient")], [f"recipient {to[2]}"])
        other = self.relay()
        poll(lambda: other.messages, what="the next go")
        self.assertEqual(other.messages[0][1], [to[2]])
        self.assertEqual(len([n for n in self.notices("alice") if to[1] in n.as_string()]), 1)

    def test_data_refused_for_good(self):
        relay = self.relay()
        relay.refuse["."] = "554 5.6.0 We do not like it"
        self.submit([f"data@{ELSEWHERE}"])
        notice = self.notice("alice", f"data@{ELSEWHERE}")
        self.assertEqual(list(notice.iter_parts())[1].get_payload()[1]["Status"], "5.6.0")

    def test_class_of_service_and_no_relay(self):
        self.relay()
        with self.assertRaises(smtplib.SMTPRecipientsRefused) as caught:
            self.submit([f"x@{ELSEWHERE}"], user="dave", sender="dave@research.example.org")
        self.assertEqual(caught.exception.recipients[f"x@{ELSEWHERE}"][0], 550)
        self.assertIn(b"5.7.1", caught.exception.recipients[f"x@{ELSEWHERE}"][1])
        self.assertEqual(self.submit(["alice@example.org"], user="dave", sender="dave@research.example.org", subject="inside"), {})
        self.use(None)
        with self.assertRaises(smtplib.SMTPRecipientsRefused) as caught:
            self.submit([f"x@{ELSEWHERE}"])
        self.assertEqual(caught.exception.recipients[f"x@{ELSEWHERE}"][0], 550)

    def test_starttls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(self.site.dir, "tls", "server.pem"), os.path.join(self.site.dir, "tls", "server.key"))
        relay = self.relay(context=context)
        self.submit([f"tls@{ELSEWHERE}"])
        poll(lambda: relay.messages, what="the relay's message")
        self.assertTrue(relay.messages[0][3])

    def test_hanging_relay_holds_up_nobody_here(self):
        """More messages than send threads stand before a relay that hangs: users here are served, and what waited for a mailbox here arrives."""
        site = self.site
        for stage in ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "."):
            with self.subTest(stage=stage):
                hung = self.relay()
                hung.hang = stage
                for number in range(10):
                    self.submit([f"hang{number}@{ELSEWHERE}"], body=b"x\r\n")
                poll(lambda: hung.connections == 8, what="all send threads at the relay that hangs")
                user = f"late{stage.strip('.').lower()}"
                site.add_user(user)
                home = os.path.dirname(site.maildir(user))
                with open(home, "w"):
                    pass    # no directory: the mailbox cannot be made
                self.submit(["bob@example.org", f"{user}@example.org"], subject=f"late {user}")
                poll(lambda: f"<{user}@example.org>: deferred" in site.log(), what="a deferral")
                os.remove(home)
                other = self.relay()    # another relay host hurries all that waits
                other.hang = stage
                poll(lambda: self.inbox(user, "late"), what="the mailbox's mail")
                self.submit(["bob@example.org"], subject=f"meanwhile {stage}")
                self.assertEqual(len(self.inbox("bob", f'meanwhile {stage}')), 1)
                # Hanging up is a deferral; the next relay host gets all of it.
                hung.close()
                other.close()
                good = self.relay()
                poll(lambda: not self.spool(), what="an empty spool")
                self.assertEqual(len(good.messages), 10)

    @only_full
    def test_hanging_relay_times_out(self):
        hung = self.relay()
        hung.hang = "RCPT"
        self.submit([f"timeout@{ELSEWHERE}"])
        poll(lambda: hung.connections > 0, what="a connection")
        poll(lambda: f"timeout@{ELSEWHERE}>: deferred" in self.site.log(), 90, "a time-out after a minute")
        hung.hang = None
        poll(lambda: hung.messages, 90, "the next go")


if __name__ == "__main__":
    main()
