#!/usr/bin/env python3
"""Many connections that never say anything, on ports that begin with TLS and on others: they keep nobody out and end no session."""
import os
import resource
import socket
import subprocess
import unittest

from harness import BUILD, SOURCE, Site, main

DESCRIPTORS = 1500    # many more than connections that may wait to be accepted when a client comes: it keeps its place for as long as they come


class Crowd(unittest.TestCase):
    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < 4000:
            self.skipTest("needs 4000 descriptors")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4000), hard))
        self.site = Site()
        self.addCleanup(self.site.close)
        self.site.stop()
        subprocess.run([os.path.join(SOURCE, "contrib", "quickstart"), "--dir", self.site.dir, "--port-base", str(self.site.port_base), "--build-dir", BUILD, "--no-install",
                        "--no-build", "--background", "--messages", "0"], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)))

    def test_silence(self):
        site = self.site
        early = site.imap_client("alice", tls=True)
        crowd = []
        self.addCleanup(lambda: [s.close() for s in crowd])
        for round in range(4):
            for _ in range(250):
                for port in (site.imaps, site.pop3s, site.submissions)[:2 + round % 2]:
                    crowd.append(socket.create_connection(("127.0.0.1", port), 15))
            for client in (site.imap_client("bob", tls=True), site.imap_client("bob")):
                self.assertEqual(client.noop()[0], "OK")
                client.logout()
            pop3 = site.pop3_client("bob")
            pop3.quit()
            smtp = site.smtp_client()
            smtp.quit()
        self.assertEqual(early.noop()[0], "OK")
        self.assertNotIn("no descriptors left", site.log())
        early.logout()


if __name__ == "__main__":
    main()
