#!/usr/bin/env python3
"""What the gateway finds wrong with what the directory says, beside the directory's own objects: a path that is not marked, a certificate that cannot be
used or is out of date. It is a fault in the status entry, for posternctl, in the log, and goes when it is cured."""
import json
import os
import re
import socket
import subprocess
import time
import unittest

from harness import BUILD, Site, main, poll


class Found(unittest.TestCase):
    def setUp(self):
        self.site = Site()
        self.addCleanup(self.site.close)
        self.dn = f"cn={re.sub('[^A-Za-z0-9._-]', '-', socket.gethostname())},{self.site.agent_dn}"
        self.took = []
        poll(self.entry, what="the status entry")
        self.addCleanup(lambda: print(f"time of what is found until it stands in the entry: at most {max(self.took, default=0) * 1000:.0f} ms", flush=True))

    def ctl(self, command):
        return json.loads(subprocess.run([os.path.join(BUILD, "posternctl"), "--control", self.site.env["POSTERN_CONTROL"], "--json", command], stdout=subprocess.PIPE,
                                         check=True, timeout=60).stdout)

    def entry(self):
        return self.site.ldap("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-s", "base", "-b", self.dn, check=False).stdout if self.dn else ""

    def lines(self, name):
        return [line[len(name) + 2:] for line in self.entry().splitlines() if line.startswith(f"{name}: ")]

    def faults(self):
        return self.lines("posternFault")

    def seconds(self, condition, what):
        began = time.monotonic()
        poll(condition, what=what)
        self.took.append(time.monotonic() - began)

    def test_path_without_its_mark(self):
        """It is told before a user comes, in the entry, by posternctl status and links, and cured as fast."""
        site = self.site
        sales, link = f"cn=Sales,ou=mail,{site.suffix}", f"cn=Sales link,{site.agent_dn}"
        path = os.path.join(site.dir, "mail", "not-yet")
        os.mkdir(path, 0o700)
        row = lambda: next(o for o in self.ctl("links")["post_offices"] if o["name"] == "Sales")
        self.assertEqual(row()["reached"], "direct access")
        site.modify(link, posternPath=path)
        self.seconds(lambda: any(line.lower().startswith(f"{link.lower()}: posternpath: {path} is no marked post office") for line in self.faults()), "the fault in the entry")
        fault, = self.ctl("status")["faults"]
        self.assertEqual((fault["dn"].lower(), fault["attribute"]), (link.lower(), "posternPath"))
        self.assertEqual((row()["reached"], row()["path_fault"]), ("not reachable", fault["reason"]))
        self.assertTrue(any(line.lower().startswith(f"{sales.lower()}: not reachable") for line in self.lines("posternLinkState")), self.entry())
        self.assertIn("posternPath: " + path, site.log())
        subprocess.run([os.path.join(BUILD, "posternctl"), "postoffice", "init", "--uuid", row()["uuid"], path], check=True, stdout=subprocess.DEVNULL)
        self.seconds(lambda: self.faults() == [], "the cure in the entry")
        self.assertEqual(self.ctl("status")["faults"], [])
        self.assertEqual((row()["reached"], row()["path_fault"]), ("direct access", None))
        # one that was well, and is not any more
        os.rename(path, path + "-gone")
        poll(lambda: any("cannot be opened: No such file" in line for line in self.faults()), what="the fault of a path that went away")
        os.rename(path + "-gone", path)
        self.seconds(lambda: self.faults() == [], "the cure")

    def test_certificate(self):
        """What cannot be used, or is out of date, is a fault of the agent object; what was in use stays."""
        site = self.site
        tls = os.path.join(site.dir, "tls")
        begins = lambda attribute, text: any(line.lower().startswith(f"{site.agent_dn}: {attribute}: ".lower()) and text in line for line in self.faults())

        def make(name, *times):
            subprocess.run(["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", f"{tls}/{name}.key", "-out", f"{tls}/{name}.csr"],
                           check=True, stderr=subprocess.DEVNULL)
            os.makedirs(f"{tls}/ca.d", exist_ok=True)
            open(f"{tls}/ca.d/index", "w").close()
            with open(f"{tls}/ca.d/conf", "w") as file:
                file.write(f"[ca]\ndefault_ca=own\n[own]\ndatabase={tls}/ca.d/index\nnew_certs_dir={tls}/ca.d\ndefault_md=sha256\npolicy=any\nrand_serial=yes\n"
                           "[any]\ncommonName=supplied\n")
            subprocess.run(["openssl", "ca", "-batch", "-config", f"{tls}/ca.d/conf", "-cert", f"{tls}/ca.pem", "-keyfile", f"{tls}/ca.key", "-in", f"{tls}/{name}.csr",
                            "-out", f"{tls}/{name}.pem", "-notext", "-startdate", times[0], "-enddate", times[1]], check=True, stderr=subprocess.DEVNULL)

        before = site.imap_client("alice", tls=True).sock.getpeercert(True)
        for attribute, value, words in (("posternTlsCertificate", "missing.pem", "No such file"), ("posternTlsKey", "missing.key", "No such file"),
                                        ("posternTlsKey", "ca.key", "values mismatch"), ("posternTlsClientCa", "missing.ca", "No such file")):
            with self.subTest(attribute=attribute, value=value):
                present = self.value_of(attribute)
                site.set_agent(**{attribute: value})
                self.seconds(lambda: begins(attribute, words), f"the fault of {value}")
                self.assertEqual(site.imap_client("alice", tls=True).sock.getpeercert(True), before)
                site.set_agent(**{attribute: present})
                self.seconds(lambda: self.faults() == [], "the cure")
        make("old", "20200101000000Z", "20210101000000Z")
        site.set_agent(posternTlsCertificate="old.pem", posternTlsKey="old.key")
        self.seconds(lambda: begins("posternTlsCertificate", "the certificate in use has expired: 2021-01-01T00:00:00Z"), "the fault of an expired certificate")
        self.assertEqual([f["attribute"] for f in self.ctl("status")["faults"]], ["posternTlsCertificate"])
        make("early", "20900101000000Z", "20910101000000Z")
        site.set_agent(posternTlsCertificate="early.pem", posternTlsKey="early.key")
        self.seconds(lambda: begins("posternTlsCertificate", "is not valid before 2090-01-01T00:00:00Z"), "the fault of one that is not valid yet")
        site.set_agent(posternTlsCertificate="server.pem", posternTlsKey="server.key")
        self.seconds(lambda: self.faults() == [], "the cure")

    def value_of(self, attribute):
        value = next(s for s in self.ctl("config")["settings"] if s["setting"] == attribute)["value"]
        return value[0] if value else None


if __name__ == "__main__":
    main()
