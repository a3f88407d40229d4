#!/usr/bin/env python3
"""posternctl against a whole site: what it says of sessions, settings, links and users, in both forms; what it does; and its check of a directory."""
import json
import os
import socket
import subprocess
import tempfile
import threading
import unittest

import directory
from harness import BUILD, SOURCE, Site, main, poll

PROGRAM = os.path.join(BUILD, "posternctl")


class Control(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = Site()
        cls.addClassCleanup(cls.site.close)

    def ctl(self, *arguments, text=None):
        done = subprocess.run([PROGRAM, "--control", self.site.env["POSTERN_CONTROL"], *arguments], input=text, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def said(self, *arguments):
        code, out, err = self.ctl(*arguments)
        self.assertEqual((code, err), (0, ""), arguments)
        return out

    def json(self, *arguments):
        out = self.said("--json", *arguments)
        self.assertEqual(out.count("\n"), 1, "one line")
        return json.loads(out)

    def settled(self):
        """No session of another test is left."""
        poll(lambda: not self.json("sessions")["sessions"], what="the end of other sessions")

    # --- what it says
    def test_status(self):
        site = self.site
        self.settled()
        imap = site.imap_client("alice")
        status = self.json("status")
        self.assertEqual(os.stat(site.env["POSTERN_CONTROL"]).st_mode & 0o777, 0o600)
        self.assertEqual(status["gateway"]["faults"], 0)
        self.assertFalse(status["gateway"]["from_cache"])
        self.assertEqual(status["gateway"]["process"], site.agent_pid())
        self.assertEqual((status["directory"]["followed_by"], status["directory"]["server"]), ("content synchronisation", site.env["POSTERN_LDAP_URI"]))
        self.assertIsNone(status["directory"]["reason"])
        self.assertLessEqual(status["gateway"]["started"], status["directory"]["heard"])
        self.assertEqual([s["service"] for s in status["services"]], ["pop3", "imap4", "smtp"])
        imap4 = status["services"][1]
        self.assertEqual(imap4["sessions_now"], 1)
        self.assertEqual(imap4["threads"], imap4["threads_busy"] + imap4["threads_idle"])
        self.assertIn({"address": "127.0.0.1", "port": site.imap, "state": "open"}, imap4["listeners"])
        self.assertGreaterEqual(imap4["logged_out" if "logged_out" in imap4 else "ended_logged_out"], 0)
        self.assertRegex(self.said("status"), r"(?m)^imap4 enabled\n  sessions now +1$")
        imap.logout()

    def test_sessions_and_kick(self):
        site = self.site
        self.settled()
        alice, again, bob, pop3 = site.imap_client("alice"), site.imap_client("alice", tls=True), site.imap_client("bob"), site.pop3_client("bob")
        smtp = site.smtp_client()
        rows = poll(lambda: [rows for rows in [self.json("sessions")["sessions"]] if all(row["state"] == "waiting" for row in rows)], what="five that wait")[0]
        self.assertEqual(sorted((r["service"], r["user"], r["tls"]) for r in rows if r["user"]),
                         [("imap4", "alice", False), ("imap4", "alice", True), ("imap4", "bob", False), ("pop3", "bob", False)])
        ports = {r["port"]: r for r in rows}
        row = ports[alice.sock.getsockname()[1]]
        self.assertEqual((row["peer"], row["state"], row["user"], row["access"]), ("127.0.0.1", "waiting", "alice", "direct"))
        self.assertLess(row["idle_seconds"], 60)
        table = self.said("sessions").splitlines()
        self.assertEqual(len(table), 6)
        self.assertTrue(table[0].startswith("ID "))
        # one by its number, the others stay
        self.assertEqual(self.json("kick", str(row["id"])), {"ended": 1})
        self.assertIn(b"* BYE", alice.readline())
        self.assertEqual(again.noop()[0], "OK")
        # all of a user, by an address in any case
        self.assertEqual(self.json("kick", "--user", "BOB@Example.org"), {"ended": 2})
        self.assertIn(b"* BYE", bob.readline())
        self.assertIn(b"-ERR", pop3.file.readline())
        self.assertEqual(again.noop()[0], "OK")
        code, out, err = self.ctl("kick", str(row["id"]))
        self.assertEqual((code, out), (1, ""))
        self.assertIn("no such session", err)
        self.assertEqual(self.ctl("kick", "--user", "bob")[0], 1)
        self.assertEqual(self.ctl("kick", "x")[0], 1)
        self.assertEqual(self.ctl("kick")[0], 2)
        self.assertEqual(self.ctl("kick", "1", "--user", "bob")[0], 2)
        status = self.json("status")["services"][1]
        self.assertGreaterEqual(status["ended_ended_by_an_administrator"], 2)
        again.logout()
        smtp.quit()

    def test_many_sessions(self):
        site = self.site
        self.settled()
        sockets = [site.raw(site.imap) for _ in range(300)]
        rows = self.json("sessions")["sessions"]
        self.assertEqual(len({r["id"] for r in rows}), 300)
        self.assertEqual([r["id"] for r in rows], sorted(r["id"] for r in rows))
        for s, reader, _ in sockets:
            reader.close()
            s.close()
        self.settled()

    def test_config(self):
        site = self.site
        settings = {s["setting"]: s for s in self.json("config")["settings"]}
        self.assertEqual(settings["posternSmtpSendThreads"]["value"], ["8"])
        self.assertEqual(settings["posternSmtpSendThreads"]["source"], "default")
        self.assertEqual(settings["posternImap4Port"]["value"], [str(site.imap)])
        self.assertEqual(settings["posternImap4Port"]["source"], "directory")
        self.assertEqual(settings["posternImap4Port"]["without"], ["143"])
        self.assertEqual(settings["posternImap4Port"]["from"].lower(), site.agent_dn.lower())
        self.assertRegex(self.said("config"), r"(?m)^posternImap4Port +%d +directory +143 +default +\S" % site.imap)

    def test_links_and_locate(self):
        site = self.site
        offices = {o["name"]: o for o in self.json("links")["post_offices"]}
        self.assertEqual(set(offices), {"Sales", "Research"})
        self.assertEqual({o["reached"] for o in offices.values()}, {"direct access"})
        self.assertEqual(offices["Sales"]["path"], os.path.join(site.dir, "mail", "sales"))
        sales, research = f"cn=Sales,ou=mail,{site.suffix}", f"cn=Research,ou=mail,{site.suffix}"
        self.assertEqual([offices["Sales"][n] for n in ("own_mode", "link", "configured_mode", "mode_from", "host")],
                         ["direct", f"cn=Sales link,{site.agent_dn}", "current", sales, None])
        self.assertEqual([offices["Research"][n] for n in ("own_mode", "link", "configured_mode", "mode", "mode_from")],
                         ["direct", None, None, "direct", research])
        self.assertEqual(offices["Sales"]["path_from"].lower(), sales.lower())
        # a link that says something, and one that says nothing
        link = f"cn=Test,{site.agent_dn}"
        path = os.path.join(site.dir, "mail", "elsewhere")
        site.ldap("ldapadd", text=f"dn: {link}\nobjectClass: posternPostOfficeLink\ncn: Test\nposternPostOffice: {research}\nposternAccessMode: direct\n"
                                  f"posternPath: {path}\nposternHost: poa.example.org\nposternPort: 1143\n\n")
        site.modify(research, posternAccessMode="clientServerAndDirect")
        try:
            research_row = lambda: {o["name"]: o for o in self.json("links")["post_offices"]}["Research"]
            poll(lambda: research_row()["own_mode"] == "clientServerAndDirect", what="the mode of the post office")
            row = research_row()
            self.assertEqual([row[n] for n in ("configured_mode", "mode", "path", "host", "port")],
                             ["direct", "direct", path, "poa.example.org", "1143"])
            self.assertEqual({row[n].lower() for n in ("link", "mode_from", "path_from", "host_from", "port_from")}, {link.lower()})
            site.modify(link, posternAccessMode="clientServer")
            poll(lambda: research_row()["reached"] == "client/server", what="the end of direct access")
            self.assertEqual([research_row()[n] for n in ("fallback", "last_failure", "logins_there")], ["none", None, 0])
            self.assertIsNone(research_row()["path"])
            carol = self.json("locate", "carol")
            self.assertEqual((carol["mode"], carol["directory"], carol["reached"]), ("clientServer", None, "client/server"))
            site.modify(link, posternAccessMode="current", posternPath=None, posternHost=None, posternPort=None)
            poll(lambda: research_row()["configured_mode"] == "current", what="the link without words")
            row = research_row()
            self.assertEqual((row["mode"], row["mode_from"].lower(), row["path_from"].lower()),
                             ("clientServerAndDirect", research.lower(), research.lower()))
            self.assertEqual(row["link"].lower(), link.lower())
        finally:
            site.ldap("ldapdelete", link)
            site.modify(research, posternAccessMode="direct")
        alice = self.json("locate", "alice@example.org")
        self.assertEqual((alice["user"], alice["post_office"], alice["mailbox"]), ("alice", "Sales", "alice/Maildir"))
        self.assertEqual(alice["reached"], "direct access")
        self.assertEqual(alice["directory"], os.path.join(site.dir, "mail", "sales", "alice", "Maildir"))
        code, out, err = self.ctl("locate", "nobody")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("no such user", err)
        self.assertEqual(self.ctl("locate")[0], 2)

    def test_access(self):
        site = self.site
        no_pop3 = f"cn=No POP3,{site.agent_dn}"
        rights = {r["setting"]: r for r in self.json("access", "alice")["rights"]}
        self.assertEqual((rights["posternPop3Access"]["value"], rights["posternImap4Access"]["level"]), ("allow", "built in"))
        site.modify(no_pop3, posternMember=[site.user_dn("alice"), "research.example.org"])
        poll(lambda: {r["setting"]: r for r in self.json("access", "alice")["rights"]}["posternPop3Access"]["value"] == "prevent",
             what="alice without POP3")
        answer = self.json("access", "ALICE@example.org")
        self.assertEqual((answer["user"], answer["dn"].lower(), answer["disabled"]), ("alice", site.user_dn("alice").lower(), False))
        right = {r["setting"]: r for r in answer["rights"]}["posternPop3Access"]
        self.assertEqual((right["level"], right["class"].lower(), right["member"]), ("user", no_pop3.lower(), site.user_dn("alice").lower()))
        right = {r["setting"]: r for r in self.json("access", "carol")["rights"]}["posternPop3Access"]
        self.assertEqual((right["level"], right["member"]), ("domain", "research.example.org"))
        self.assertRegex(self.said("access", "carol"), r"(?m)^  posternPop3Access +prevent +domain +cn=No POP3,\S.* +research\.example\.org$")
        code, out, err = self.ctl("access", "nobody")
        self.assertEqual((code, out), (1, ""))

    # --- what it follows
    def follow(self, *arguments):
        process = subprocess.Popen([PROGRAM, "--control", self.site.env["POSTERN_CONTROL"], *arguments], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def next_event(self, process):
        line = []
        reader = threading.Thread(target=lambda: line.append(process.stdout.readline()))
        reader.start()
        reader.join(60)
        self.assertFalse(reader.is_alive(), "no event")
        return json.loads(line[0])

    def test_watch(self):
        site = self.site
        process = self.follow("--json", "watch")
        text = self.follow("watch")
        first = self.next_event(process)
        self.assertEqual(first["event"], "watching")
        self.assertIn("watching: snapshot", text.stdout.readline())
        site.set_agent(posternPop3Threads="7")
        event = self.next_event(process)
        self.assertEqual(event["event"], "applied")
        self.assertGreater(event["snapshot"], first["snapshot"])
        self.assertEqual([(o["change"], o["dn"].lower(), o["class"]) for o in event["objects"]],
                         [("changed", site.agent_dn.lower(), "posternInternetAgent")])
        self.assertEqual(event["objects"][0]["settings"], [{"attribute": "posternPop3Threads", "before": ["10"], "after": ["7"]}])
        self.assertIn("applied: snapshot", text.stdout.readline())
        self.assertIn("changed", text.stdout.readline())
        self.assertIn("posternPop3Threads: 10 -> 7", text.stdout.readline())
        # a fault comes and goes; what is in force does not change
        site.set_agent(posternPop3Threads="0")
        event = self.next_event(process)
        self.assertEqual(event["objects"], [])
        self.assertEqual([f["attribute"] for f in event["faults"]], ["posternPop3Threads"])
        faults = self.json("status")["faults"]
        self.assertEqual([f["attribute"] for f in faults], ["posternPop3Threads"])
        site.set_agent(posternPop3Threads=None)
        event = self.next_event(process)
        self.assertEqual([f["attribute"] for f in event["cured"]], ["posternPop3Threads"])
        self.assertEqual(event["objects"][0]["settings"][0]["after"], ["10"])
        # an object comes and goes
        dn = f"cn=Passing,{site.agent_dn}"
        site.ldap("ldapadd", text=f"dn: {dn}\nobjectClass: posternClassOfService\ncn: Passing\nposternPop3Access: allow\n\n")
        event = self.next_event(process)
        self.assertEqual([(o["change"], o["class"]) for o in event["objects"]], [("added", "posternClassOfService")])
        site.ldap("ldapdelete", dn)
        event = self.next_event(process)
        self.assertEqual([o["change"] for o in event["objects"]], ["removed"])

    def test_reload(self):
        site = self.site
        offices = lambda: {o["name"] for o in self.json("links")["post_offices"]}
        self.assertEqual(offices(), {"Sales", "Research"})
        # nothing tells the gateway that it may not read an object any more
        self.config('dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\nadd: olcAccess\nolcAccess: {0}to '
                    'dn.exact="cn=Research,ou=mail,%s" by * none\n-\n\n' % site.suffix)
        try:
            self.assertEqual(self.json("reload"), {"reloading": True})
            poll(lambda: offices() == {"Sales"}, what="the end of the hidden post office")
        finally:
            self.config("dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\ndelete: olcAccess\nolcAccess: {0}\n-\n\n")
        self.said("reload")
        poll(lambda: offices() == {"Sales", "Research"}, what="its return")

    # --- without a gateway
    def test_without_gateway(self):
        code, out, err = self.ctl("--control", "/nowhere/control", "status")
        self.assertEqual((code, out), (1, ""))
        self.assertIn("no gateway answers here", err)
        for form, name in (("openldap", "postern-openldap.ldif"), ("upgrade", "postern-openldap-upgrade.ldif"), ("389ds", "postern-389ds.ldif")):
            with open(os.path.join(BUILD, "schema", name)) as file:
                self.assertEqual(self.said("schema", form), file.read())
        self.assertIn("dn: cn={9}postern,cn=schema,cn=config\n", self.said("schema", "upgrade", "--dn", "cn={9}postern,cn=schema,cn=config"))
        self.assertEqual(self.ctl("schema", "nonsense")[0], 2)
        self.assertEqual(self.ctl("schema")[0], 2)
        self.assertRegex(self.json("version")["version"], r"^\d")

    def test_wrong_command_lines(self):
        for words, why in (((), "COMMAND: is missing"), (("acess", "bob"), "acess: there is no such command"), (("access",), "access: something is missing"),
                           (("status", "more"), "more: too much"), (("schema", "x"), "x: not openldap"), (("postoffice", "mark", "/"), "mark: postoffice knows init"),
                           (("check", "--uri", "ldap://x"), "check: needs --uri and --agent-dn"), (("--nonsense",), "unrecognized option '--nonsense'"),
                           (("check", "--allow-port", "x"), "x: not a port"),
                           (("check", "--uri", "x", "--agent-dn", "x", "--external", "--gssapi"), "--bind-dn, --external and --gssapi exclude each other"),
                           (("check", "--uri", "x", "--agent-dn", "x", "--keytab", "x"), "--keytab needs --gssapi"),
                           (("check", "--uri", "x", "--agent-dn", "x", "--cert-file", "x"), "--cert-file and --key-file go together")):
            code, out, err = self.ctl(*words)
            self.assertEqual((code, out), (2, ""), words)
            self.assertIn(why, err)
            self.assertIn("posternctl --help", err)

    def test_gateway_that_hangs(self):
        """One that takes no connections any more keeps nobody waiting for ever."""
        with tempfile.TemporaryDirectory() as home, socket.socket(socket.AF_UNIX) as listener:
            path = os.path.join(home, "control")
            listener.bind(path)
            listener.listen(0)
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(path)     # all the room that there is
                done = subprocess.run([PROGRAM, "--control", path, "status"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("does not answer", done.stderr)

    def test_nothing_to_list(self):
        self.settled()
        self.assertEqual(self.said("sessions"), "none\n")

    def test_mark(self):
        path = os.path.join(self.site.dir, "mail", "sales")
        uuid = next(r["uuid"] for r in self.json("links")["post_offices"] if r["path"] == path)
        self.assertEqual(self.json("postoffice", "init", path), {"path": path, "uuid": uuid})

    def complete(self, *words):
        script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _posternctl; printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", script, "bash", os.path.join(SOURCE, "contrib", "posternctl.bash"), "posternctl", *words],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.site.dir)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return set(done.stdout.split())

    def test_completion(self):
        usage = self.said("--help")
        commands = {line.split()[0] for line in usage.splitlines() if line.startswith("  ") and not line.startswith("   ")}
        self.assertEqual({word for word in self.complete("") if not word.startswith("-")}, commands)
        self.assertEqual(self.complete("sess"), {"sessions"})
        self.assertEqual(self.complete("--control", "/x", "schema", "o"), {"openldap"})
        self.assertEqual(self.complete("--control", "stat"), {"state"})     # a directory of the site
        self.assertEqual(self.complete("check", "--uri", "ldap://x", "--ld"), {"--ldif"})
        self.assertEqual(self.complete("postoffice", "init", "ma"), {"mail"})
        options = {word for line in usage.splitlines() for word in line.replace("[", " ").replace("]", " ").replace(",", " ").split()
                   if word.startswith("--")}
        offered = set()
        for words in ((), ("status",), ("kick",), ("postoffice", "init"), ("schema", "upgrade"), ("check",)):
            offered |= self.complete(*words, "--")
        self.assertLessEqual(options - {"--"}, offered | {"--help", "--version"})

    # --- check
    def check(self, *arguments, text=None, bind=True):
        site = self.site
        words = ["--json", "check", "--uri", site.env["POSTERN_LDAP_URI"], "--agent-dn", site.agent_dn, "--mail-root", os.path.join(site.dir, "mail")]
        if bind:
            words += ["--bind-dn", site.env["POSTERN_ADMIN_DN"], "--password-file", os.path.join(site.dir, "credentials", "admin.pw")]
        code, out, err = self.ctl(*words, *arguments, text=text)
        return code, json.loads(out) if out else None, err

    def test_check(self):
        site = self.site
        code, report, err = self.check()
        self.assertEqual((code, err), (0, ""), report)
        self.assertEqual((report["faults"], report["users"]), ([], 4))
        self.assertGreaterEqual(report["objects"], 4)
        sales = f"cn=Sales,ou=mail,{site.suffix}"
        site.modify(sales, posternMailboxTemplate="../%u")
        site.modify(site.user_dn("bob"), mail="alice@example.org", posternPostOffice=f"cn=Nowhere,{site.suffix}")
        try:
            code, report, err = self.check()
            self.assertEqual((code, err), (1, ""))
            found = {(f["dn"].lower(), f["attribute"]) for f in report["faults"]}
            # a post office that never was valid is not there: its users are told of, too
            self.assertLessEqual({(sales.lower(), "posternMailboxTemplate"), (site.user_dn("bob").lower(), "posternPostOffice")}, found)
            # bob was read after alice or before: one of the two is named
            self.assertEqual(len([f for f in report["faults"] if f["attribute"] == "mail" and "alice@example.org" in f["reason"]]), 1)
            self.assertEqual(self.check("--no-users")[1]["faults"][0]["attribute"], "posternMailboxTemplate")
        finally:
            site.modify(sales, posternMailboxTemplate=None)
            site.modify(site.user_dn("bob"), mail="bob@example.org", posternPostOffice=sales)
        self.assertEqual(self.check()[0], 0)

    def test_check_knows_the_directory(self):
        edit = f"dn: {self.site.agent_dn}\nchangetype: modify\nreplace: posternLoginMethod\nposternLoginMethod: compare\n-\n\n"
        code, report, _ = self.check("--ldif", "-", text=edit)
        self.assertEqual((code, [f["attribute"] for f in report["edit"]["new_faults"]]), (1, ["posternLoginMethod"]), report)
        self.assertEqual(self.check("--ldif", "-", text=edit.replace("compare", "bind"))[0], 0)

    def test_check_edit(self):
        site = self.site
        edit = (f"dn: {site.agent_dn}\nchangetype: modify\nreplace: posternPop3Threads\nposternPop3Threads: 22\n-\n\n"
                f"dn: cn=Research,ou=mail,{site.suffix}\nchangetype: modrdn\nnewrdn: cn=Science\ndeleteoldrdn: 1\n\n"
                f"dn: {site.user_dn('bob')}\nchangetype: modify\nreplace: mail\nmail: ALICE@example.org\n-\n\n"
                f"dn: cn=Sales link,{site.agent_dn}\nchangetype: modify\nreplace: posternPath\nposternPath: {site.dir}/mail/moved\n-\n\n"
                f"dn: cn=New,{site.agent_dn}\nobjectClass: posternPostOfficeLink\ncn: New\nposternPostOffice: cn=Nowhere,{site.suffix}\n")
        code, report, err = self.check("--ldif", "-", text=edit)
        self.assertEqual((code, err), (1, ""), report)
        self.assertEqual(report["faults"], [])
        changes = {(c["dn"].lower(), c["attribute"]): (c["before"], c["after"]) for c in report["edit"]["changes"]}
        self.assertEqual(changes[(site.agent_dn.lower(), "posternPop3Threads")], (["10"], ["22"]))
        science = f"cn=science,ou=mail,{site.suffix}"
        self.assertIn((science, "dn"), changes)
        self.assertEqual([(w["post_office"].lower(), w["setting"], w["before"], w["after"]) for w in report["edit"]["post_offices"]],
                         [(f"cn=sales,ou=mail,{site.suffix}", "path", f"{site.dir}/mail/sales", f"{site.dir}/mail/moved")])
        new = {(f["dn"].lower(), f["attribute"]) for f in report["edit"]["new_faults"]}
        # carol and dave lie in the renamed post office; the link leads nowhere; bob has alice's address
        self.assertLessEqual({(site.user_dn("carol").lower(), "posternPostOffice"), (site.user_dn("dave").lower(), "posternPostOffice"),
                              (f"cn=new,{site.agent_dn}".lower(), "posternPostOffice"), (site.user_dn("bob").lower(), "mail")}, new)
        self.assertEqual(self.json("links")["post_offices"][0]["name"] in ("Sales", "Research"), True, "nothing was written")
        good = f"dn: {site.agent_dn}\nchangetype: modify\nreplace: posternPop3Threads\nposternPop3Threads: 22\n-\n\n"
        code, report, err = self.check("--ldif", "-", text=good)
        self.assertEqual((code, err, report["edit"]["new_faults"]), (0, "", []))
        self.assertEqual(self.json("config")["settings"][1]["setting"], "posternPop3Threads")
        self.assertEqual(self.json("config")["settings"][1]["value"], ["10"], "nothing was written")
        for wrong, words in (("dn: nonsense\nchangetype: delete\n", "not a distinguished name"),
                             ("dn: cn=none,dc=example,dc=org\nchangetype: delete\n", "no such entry"),
                             (f"dn: {site.agent_dn}\nchangetype: delete\n", "entries below"),
                             (f"dn: {site.agent_dn}\nchangetype: modify\ndelete: description\n-\n", "no such value"),
                             (f"dn: {site.agent_dn}\nobjectClass: top\n", "exists already"),
                             ("dn cn=x\n", "line 1"), ("dn: cn=x\nchangetype: modify\nadd: a\nb: c\n", "line 4")):
            code, report, err = self.check("--ldif", "-", text=wrong)
            self.assertEqual((code, report), (1, None), wrong)
            self.assertIn(words, err)

    def test_check_paths(self):
        """A path that is not there, or not marked, is a fault before a gateway finds it; one of a post office that is yet to be made is not."""
        site = self.site
        link, unmarked = f"cn=Sales link,{site.agent_dn}", os.path.join(site.dir, "mail", "unmarked")
        os.makedirs(unmarked, exist_ok=True)
        for path, words in ((unmarked, "is no marked post office"), (f"{site.dir}/mail/nowhere", "cannot be opened"), (f"{site.dir}/mail/research", "is marked as post office")):
            edit = f"dn: {link}\nchangetype: modify\nreplace: posternPath\nposternPath: {path}\n-\n\n"
            code, report, err = self.check("--no-users", "--ldif", "-", text=edit)
            self.assertEqual((code, err), (1, ""))
            fault, = report["edit"]["new_faults"]
            self.assertEqual((fault["dn"].lower(), fault["attribute"]), (link.lower(), "posternPath"))
            self.assertIn(words, fault["reason"])
        new = f"dn: cn=New,ou=mail,{site.suffix}\nobjectClass: posternPostOffice\ncn: New\nposternPath: {unmarked}\n\n"
        self.assertEqual(self.check("--no-users", "--ldif", "-", text=new)[0], 0)
        # in words, only what changes
        words = ["check", "--uri", site.env["POSTERN_LDAP_URI"], "--agent-dn", site.agent_dn, "--mail-root", os.path.join(site.dir, "mail"), "--no-users", "--ldif", "-",
                 "--bind-dn", site.env["POSTERN_ADMIN_DN"], "--password-file", os.path.join(site.dir, "credentials", "admin.pw")]
        code, out, err = self.ctl(*words, text=edit)
        self.assertEqual((code, err), (1, ""))
        for text in ("new faults", "is marked as post office", "post offices", f"{site.dir}/mail/research"):
            self.assertIn(text, out)
        self.assertNotIn("objects", out)
        self.assertNotIn("changes", out)
        code, whole, err = self.ctl(*words, "--verbose", text=edit)
        self.assertIn("objects", whole)
        self.assertIn("changes", whole)
        code, out, err = self.ctl(*words, text=f"dn: {site.agent_dn}\nchangetype: modify\nreplace: posternPop3Threads\nposternPop3Threads: 22\n-\n\n")
        self.assertEqual((code, out.split(), err), (0, ["edit", "faults", "then", "0"], ""))

    def test_check_rights(self):
        site = self.site
        with tempfile.NamedTemporaryFile("w") as password:
            password.write(site.env["POSTERN_PASSWORD"] + "\n")
            password.flush()
            words = ("--no-users", "--as-user", site.user_dn("alice"), "--user-password-file", password.name)
            # the gateway writes its status entry now and then
            everything = lambda: site.ldap("ldapsearch", "-LLL", "-b", site.suffix, "(!(objectClass=posternAgentStatus))", "*", "entryCSN").stdout
            before = everything()
            code, report, err = self.check(*words)
            self.assertEqual((code, err), (0, ""), report)
            self.assertEqual((report["rights"]["allowed"], report["rights"]["not_known"]), (0, 0), report["rights"])
            self.assertGreater(report["rights"]["denied"], 50)
            # a rule that lets everybody write the own entry, and one object
            rule = ('dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\nadd: olcAccess\nolcAccess: {0}to attrs=posternQuota,posternDisabled,mail '
                    'by self write by * read\nolcAccess: {1}to dn.exact="cn=Sales,ou=mail,%s" by users write\n-\n\n' % site.suffix)
            self.config(rule)
            try:
                code, report, err = self.check(*words)
                self.assertEqual((code, err), (1, ""))
                found = {(f["dn"].lower(), f["attribute"]) for f in report["rights"]["writable"]}
                alice, sales = site.user_dn("alice").lower(), f"cn=sales,ou=mail,{site.suffix}"
                self.assertEqual({a for d, a in found if d == alice}, {"posternQuota", "posternDisabled", "mail"})
                self.assertIn("posternPath", {a for d, a in found if d == sales})
                self.assertEqual({d for d, _ in found}, {alice, sales})
                self.assertEqual(report["rights"]["not_known"], 0, report["rights"])
            finally:
                self.config("dn: olcDatabase={1}mdb,cn=config\nchangetype: modify\ndelete: olcAccess\nolcAccess: {0}\n-\ndelete: olcAccess\nolcAccess: {0}\n-\n\n")
            self.assertEqual(everything(), before, "nothing was written")
            code, report, err = self.check("--no-users", "--as-user", site.user_dn("alice"), "--user-password-file", "/dev/null")
            self.assertEqual(code, 1)
            self.assertIn("password is empty", err)

    def test_check_many_users(self):
        """More than a directory gives at once."""
        site = self.site
        sales = f"cn=Sales,ou=mail,{site.suffix}"
        people = [f"dn: uid=u{n},ou=many,ou=people,{site.suffix}\nobjectClass: inetOrgPerson\nobjectClass: posternMailUser\nuid: u{n}\ncn: u\nsn: u\n"
                  f"mail: u{n if n != 999 else 998}@example.org\nposternPostOffice: {sales}\n" for n in range(1100)]
        site.ldap("ldapadd", text=f"dn: ou=many,ou=people,{site.suffix}\nobjectClass: organizationalUnit\nou: many\n\n" + "\n".join(people) + "\n")
        try:
            code, report, err = self.check()
            self.assertEqual((code, err, report["users"]), (1, "", 1104))
            self.assertEqual([f["attribute"] for f in report["faults"]], ["mail"])
            self.assertIn("u998@example.org", report["faults"][0]["reason"])
        finally:
            site.ldap("ldapdelete", "-r", f"ou=many,ou=people,{site.suffix}")

    def config(self, ldif):
        site = self.site
        subprocess.run(["ldapmodify", "-x", "-H", site.env["POSTERN_LDAP_URI"], "-D", "cn=admin,cn=config", "-y",
                        os.path.join(site.dir, "credentials", "admin.pw")], input=ldif, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, check=True)

    def test_check_credentials(self):
        site = self.site
        code, report, err = self.check("--bind-dn", site.user_dn("alice"), "--password-file", "/dev/null", bind=False)
        self.assertEqual((code, report), (1, None))
        self.assertIn("/dev/null", err)
        code, report, err = self.check(bind=False)
        self.assertEqual((code, report), (1, None))
        self.assertTrue(err)
        self.assertEqual(self.ctl("check")[0], 2)
        self.assertEqual(self.ctl("check", "--uri", "ldap://127.0.0.1:1", "--agent-dn", "cn=a")[0], 1)


@unittest.skipUnless(directory.have("ns-slapd", "dscreate"), "389 Directory Server is not installed")
class Check389(unittest.TestCase):
    """The check of a 389 Directory Server, whose access control and UUIDs are others."""
    AGENT = f"cn=Agent,{directory.SUFFIX}"
    OFFICE = f"cn=Office,{directory.SUFFIX}"
    ALICE = f"uid=alice,{directory.SUFFIX}"

    @classmethod
    def setUpClass(cls):
        cls.server = directory.Ns389()
        cls.addClassCleanup(cls.server.close)
        schema = subprocess.run([PROGRAM, "schema", "389ds"], stdout=subprocess.PIPE, text=True, check=True).stdout
        cls.load(schema)
        cls.load("".join(f"dn: {dn}\nchangetype: add\n{rest}\n" for dn, rest in (
            (cls.AGENT, "objectClass: posternInternetAgent\ncn: Agent\n"),
            (cls.OFFICE, "objectClass: posternPostOffice\ncn: Office\nposternDomain: example.org\nposternPath: /srv/mail/o\n"),
            (f"cn=mail admins,{directory.SUFFIX}", "objectClass: groupOfNames\ncn: mail admins\n"),
            (cls.ALICE, "objectClass: inetOrgPerson\nobjectClass: posternMailUser\nuid: alice\ncn: a\nsn: a\nmail: alice@example.org\n"
                        f"userPassword: {directory.PASSWORD}\nposternPostOffice: {cls.OFFICE}\n"))))
        cls.load(directory.filled("aci-389ds.ldif", SUFFIX=directory.SUFFIX, GATEWAY=f"cn=gateway,{directory.SUFFIX}",
                                  ADMINS=f"cn=mail admins,{directory.SUFFIX}"))

    @classmethod
    def load(cls, ldif):
        code, said = cls.server.ldap("ldapmodify", text=ldif)
        if code != 0:
            raise AssertionError(said)

    def check(self, *arguments, text=None):
        with tempfile.NamedTemporaryFile("w") as password:
            password.write(directory.PASSWORD)
            password.flush()
            done = subprocess.run([PROGRAM, "--json", "check", "--uri", self.server.uri, "--agent-dn", self.AGENT, "--bind-dn", self.server.admin,
                                   "--password-file", password.name, "--user-password-file", password.name, *arguments], input=text,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr

    def test_faults_and_edit(self):
        code, report, err = self.check()
        self.assertEqual((code, err, report["faults"], report["objects"], report["users"]), (0, "", [], 2, 1))
        edit = f"dn: {self.OFFICE}\nchangetype: modify\nreplace: posternPath\nposternPath: /elsewhere\n-\n"
        code, report, err = self.check("--ldif", "-", text=edit)
        self.assertEqual((code, err), (1, ""))
        self.assertEqual([(f["dn"].lower(), f["attribute"]) for f in report["edit"]["new_faults"]], [(self.OFFICE.lower(), "posternPath")])
        self.assertEqual(report["edit"]["changes"], [], "the last valid version stays")

    def test_rights(self):
        code, report, err = self.check("--as-user", self.ALICE)
        self.assertEqual((code, err), (0, ""), report)
        self.assertEqual((report["rights"]["allowed"], report["rights"]["not_known"]), (0, 0), report["rights"])
        rule = 'aci: (targetattr="posternPath || posternQuota || description")(version 3.0; acl "too much"; allow (write) userdn="ldap:///all";)'
        self.load(f"dn: {directory.SUFFIX}\nchangetype: modify\nadd: aci\n{rule}\n-\n")
        try:
            code, report, err = self.check("--as-user", self.ALICE)
            # what is denied to all but the administrators stays denied
            self.assertEqual([(f["dn"].lower(), f["attribute"]) for f in report["rights"]["writable"]], [(self.OFFICE.lower(), "posternPath")])
            self.assertEqual(code, 1)
        finally:
            self.load(f"dn: {directory.SUFFIX}\nchangetype: modify\ndelete: aci\n{rule}\n-\n")


if __name__ == "__main__":
    main()
