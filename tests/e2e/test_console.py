#!/usr/bin/env python3
"""Administration by phpLDAPadmin with the forms of contrib/phpldapadmin: what is filled in there, the gateway that runs obeys. The forms are posted without a
browser, and those that an administrator uses most in Chromium; --screenshots DIR keeps two pictures of that."""
import glob
import json
import os
import re
import subprocess
import sys
import unittest
import urllib.parse
import xml.etree.ElementTree as ElementTree

import browser
import directory
import harness
import phpldapadmin
from directory import SUFFIX
from harness import BUILD, SOURCE, poll
from sample import ADMIN, ADMINS, ALICE, ENTRIES, GATEWAY

FORMS = os.path.join(BUILD, "contrib", "phpldapadmin", "templates")
SCREENSHOTS = sys.argv[sys.argv.index("--screenshots") + 1] if "--screenshots" in sys.argv else None
IMAGES = os.path.join(phpldapadmin.PACKAGE, "htdocs", "images", "default")


def settings(name):
    """The attributes of Postern that a class may have, by the schema."""
    with open(os.path.join(BUILD, "schema", "postern-openldap.ldif")) as file:
        return re.findall(r"\bpostern\w+", re.search(rf"^olcObjectClasses: .* NAME '{name}' .* MAY \((.*)\)", file.read(), re.M).group(1))


class Forms(unittest.TestCase):
    """The generated files, without a server."""
    CLASSES = ("posternInternetAgent", "posternPostOffice", "posternPostOfficeAgent", "posternPostOfficeLink", "posternClassOfService", "posternMailUser",
               "posternDistributionList")

    def attributes(self, path):
        root = ElementTree.parse(path).getroot()
        return [at.get("id") for at in root.find("attributes")], root

    def test_creation_forms_have_every_setting(self):
        for name in self.CLASSES:
            found, root = self.attributes(os.path.join(FORMS, "creation", name + ".xml"))
            self.assertEqual(set(settings(name)) - set(found), set(), name)
            self.assertEqual(len(found), len(set(found)), name)
            self.assertIn(root.find("rdn").text, found)

    def test_modification_forms_have_every_setting_on_one_page(self):
        for name in (*self.CLASSES, "posternAgentStatus"):
            found = []
            pages = glob.glob(os.path.join(FORMS, "modification", name + "-*.xml")) + glob.glob(os.path.join(FORMS, "modification", name + ".xml"))
            for path in pages:
                found += [at for at in self.attributes(path)[0] if at.startswith("postern")]
            self.assertEqual(sorted(found), sorted(settings(name)), name)

    def test_icons_are_those_that_there_are(self):
        if phpldapadmin.missing():
            self.skipTest("phpldapadmin is not installed")
        for path in glob.glob(os.path.join(FORMS, "*", "*.xml")):
            icon = self.attributes(path)[1].find("icon").text
            self.assertTrue(os.path.exists(os.path.join(IMAGES, icon)), f"{path}: {icon}")


@unittest.skipIf(phpldapadmin.missing(), f"{phpldapadmin.missing()} is not installed")
class Administration(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.site = harness.Site()
        cls.server = None
        try:
            cls.server = phpldapadmin.Server(cls.site)
            cls.console = phpldapadmin.Console(cls.server)
            with open(os.path.join(cls.site.dir, "credentials", "admin.pw")) as file:
                cls.password = file.read()
            cls.console.login(cls.site.env["POSTERN_ADMIN_DN"], cls.password)
        except BaseException:
            cls.tearDownClass()
            raise

    @classmethod
    def tearDownClass(cls):
        said = ""
        if cls.server is not None:
            cls.server.close()
            said = cls.server.log()
        cls.site.close()
        # what PHP 8.2 says of phpLDAPadmin when it starts is known, and harmless
        trouble = [line for line in said.splitlines() if re.search(r"PHP [A-Z]", line) and not re.search(r"Development Server|Using \${var} in strings is deprecated", line)]
        assert not trouble, trouble[:10]

    def ctl(self, *words):
        return subprocess.run([os.path.join(BUILD, "posternctl"), "--control", self.site.env["POSTERN_CONTROL"], *words], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=True).stdout

    def link(self, name):
        return next(office for office in json.loads(self.ctl("--json", "links"))["post_offices"] if office["name"] == name)

    def entry(self, dn):
        """attribute in lower case -> set of values."""
        text = self.site.ldap("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", dn, "-s", "base", check=False).stdout
        found = {}
        for name, value in re.findall(r"^(\w+):+ (.*)$", text, re.M):
            found.setdefault(name.lower(), set()).add(value)
        return found

    def imap_refused(self, user):
        try:
            self.site.imap_client(user).logout()
            return False
        except harness.imaplib.IMAP4.error:
            return True

    def office(self, name):
        return f"cn={name},ou=mail,{self.site.suffix}"

    def test_threads(self):
        posted = self.console.change(self.site.agent_dn, "Postern: Internet Agent, POP3", posternPop3Threads="3")
        self.assertEqual(posted, {"posternpop3threads"})
        poll(lambda: re.search(r"posternPop3Threads\W+3\b", self.ctl("config")), what="3 POP3 threads")

    def test_link(self):
        self.console.create(self.site.agent_dn, "Postern: Post Office Link",
                    {"cn": "Research link", "posternPostOffice": self.office("Research"), "posternAccessMode": "clientServer", "posternHost": "127.0.0.1",
                     "posternPort": "9"})
        dn = f"cn=Research link,{self.site.agent_dn}"
        self.assertEqual(self.entry(dn)["posternaccessmode"], {"clientServer"})
        poll(lambda: self.link("Research")["port"] == "9" and self.link("Research")["mode"] == "clientServer", what="the link")
        poll(lambda: self.imap_refused("carol"), what="a refusal: nothing listens at the port of the link")
        # and back: the choice that is offered is followed at once
        self.console.change(dn, "Postern: Post Office Link", posternAccessMode="direct")
        poll(lambda: self.link("Research")["mode"] == "direct", what="direct access")
        self.site.imap_client("carol").logout()

    def test_offers(self):
        """What a form lets choose is what the tables and the directory have."""
        form = self.console.edit(f"cn=Sales link,{self.site.agent_dn}", "Postern: Post Office Link")
        self.assertEqual(form.value("posternPostOffice"), [self.office("Sales")])
        self.assertEqual(sorted(form.offers("posternPostOffice")), [self.office("Research"), self.office("Sales")])
        self.assertEqual(form.offers("posternAccessMode"), ["current", "clientServerAndDirect", "clientServer", "direct"])
        self.assertIn("acronym title", self.console.page)
        self.assertIn("The post office that the link leads to", self.console.page)

    def test_close_a_service(self):
        self.console.change(self.site.agent_dn, "Postern: Internet Agent, IMAP4", posternImap4Enabled="FALSE")

        def closed():
            try:
                self.site.imap_client(login=False).shutdown()
                return False
            except OSError:
                return True
        try:
            poll(closed, what="IMAP4 closed")
        finally:
            self.console.change(self.site.agent_dn, "Postern: Internet Agent, IMAP4", posternImap4Enabled="TRUE")
        poll(lambda: not closed(), what="IMAP4 open again")

    def test_class_of_service(self):
        self.site.pop3_client("bob").quit()
        self.console.create(self.site.agent_dn, "Postern: Class of Service", {"cn": "No POP3 for bob", "posternMember": self.site.user_dn("bob")},
                    {"posternPop3Access": "prevent"}, {}, {}, {})

        def refused():
            try:
                self.site.pop3_client("bob").quit()
                return False
            except harness.poplib.error_proto:
                return True
        poll(refused, what="POP3 prevented")
        self.console.change(f"cn=No POP3 for bob,{self.site.agent_dn}", "Postern: Class of Service, POP3", posternPop3Access="allow")
        poll(lambda: not refused(), what="POP3 allowed")

    def test_post_office_and_user(self):
        path = os.path.join(self.site.dir, "mail", "support")
        self.console.create(f"ou=mail,{self.site.suffix}", "Postern: Post Office",
                    {"cn": "Support", "posternDomain": "support.example.org", "posternPath": path, "posternAccessMode": "direct"})
        uuid = re.search(r"^entryUUID: (.*)$", self.site.ldap("ldapsearch", "-LLL", "-b", self.office("Support"), "entryUUID").stdout, re.M).group(1)
        os.mkdir(path, 0o700)
        subprocess.run([os.path.join(BUILD, "posternctl"), "postoffice", "init", "--uuid", uuid, path], check=True, stdout=subprocess.DEVNULL)
        self.console.create(self.site.env["POSTERN_PEOPLE_DN"], "Postern: Mail User",
                    {"uid": "erin", "sn": "Example", "cn": "Erin Example", "mail": "erin@support.example.org", "userPassword": "secret of erin",
                     "posternPostOffice": self.office("Support")})

        def login():
            try:
                self.site.imap_client("erin", "secret of erin").logout()
                return True
            except harness.imaplib.IMAP4.error:
                return False
        poll(login, what="the login of the new user")
        self.console.create(self.office("Support"), "Postern: Post Office Agent", {"cn": "POA", "posternHost": "127.0.0.1", "posternTls": "disabled"}, {})
        self.assertEqual(self.entry(f"cn=POA,{self.office('Support')}")["posterntls"], {"disabled"})

    def test_distribution_list(self):
        people = self.site.env["POSTERN_PEOPLE_DN"]
        self.console.create(people, "Postern: Distribution List", {"cn": "staff", "mail": "staff@example.org", "member": self.site.user_dn("alice")})
        self.assertEqual(self.entry(f"cn=staff,{people}")["objectclass"], {"groupOfNames", "posternDistributionList", "top"})
        self.console.change(f"cn=staff,{people}", "Postern: Distribution List", posternMailAlias="everybody@example.org")
        self.assertEqual(self.entry(f"cn=staff,{people}")["posternmailalias"], {"everybody@example.org"})

    def test_nothing_else_of_an_entry_is_touched(self):
        """phpLDAPadmin takes classes away that a template does not name, unless the template sees to it."""
        dn = self.site.user_dn("dave")
        self.site.ldap("ldapmodify", text=f"dn: {dn}\nchangetype: modify\nadd: objectClass\nobjectClass: labeledURIObject\n-\nadd: labeledURI\n"
                                          "labeledURI: http://dave.example\n-\nadd: title\ntitle: Dr\n\n")
        before = self.entry(dn)
        self.console.change(dn, "Postern: Mail User", sn="Other", posternMailAlias="d@research.example.org")
        after = self.entry(dn)
        self.assertEqual(after, {**before, "sn": {"Other"}, "posternmailalias": {"d@research.example.org"}})

    def test_a_value_out_of_range_is_told(self):
        """The directory takes any number; the status entry says what the gateway makes of it, on a form of its own."""
        self.console.change(self.site.agent_dn, "Postern: Internet Agent, IMAP4", posternImap4IdleMinutes="1")
        status = poll(lambda: re.search(r"^dn: (.*)$", self.site.ldap("ldapsearch", "-LLL", "-o", "ldif-wrap=no", "-b", self.site.agent_dn,
                                                                      "(posternFault=*posternImap4IdleMinutes*)", "1.1").stdout, re.M), what="the fault").group(1)
        template = self.console.template("Postern: Agent Status", dn=status, template="")
        page = self.console.command("template_engine", dn=status, template=template)
        self.assertIn("posternImap4IdleMinutes", page)
        self.assertNotIn("Update Object", page)
        self.console.change(self.site.agent_dn, "Postern: Internet Agent, IMAP4", posternImap4IdleMinutes="30")
        poll(lambda: "posternImap4IdleMinutes" not in str(self.entry(status).get("posternfault")), what="no fault")

    def test_who_is_no_admin_changes_nothing(self):
        other = phpldapadmin.Console(self.server)
        other.login(self.site.user_dn("alice"), self.site.env["POSTERN_PASSWORD"])
        dn = self.site.user_dn("alice")
        form = other.edit(dn, "Postern: Mail User")
        form.set(mail="boss@example.org")
        other.send(form)
        other.send(other.form())
        self.assertEqual(self.entry(dn)["mail"], {"alice@example.org"})

    @unittest.skipIf(browser.missing(), f"{browser.missing()} is not installed")
    def test_browser(self):
        chromium = browser.Browser(900, 940)
        try:
            chromium.go(self.server.url + "/index.php")
            chromium.click(chromium.link("login"))
            chromium.type(chromium.find("input[name=login]"), self.site.env["POSTERN_ADMIN_DN"])
            chromium.type(chromium.find("input[name=login_pass]"), self.password)
            chromium.click(chromium.find("input[type=submit][name=submit]"))
            poll(lambda: "Successfully logged into server" in chromium.text(), what="the login")
            self.change_threads(chromium)
            self.create_link(chromium)
        finally:
            chromium.close()

    def open_agent(self, chromium):
        chromium.go(f"{self.server.url}/cmd.php?cmd=template_engine&server_id=1&template=&dn={urllib.parse.quote(self.site.agent_dn)}")

    def picture(self, chromium, name, css):
        """What is seen around an element."""
        if SCREENSHOTS:
            chromium.run(f"document.querySelector('{css}').scrollIntoView()")
            chromium.screenshot(os.path.join(SCREENSHOTS, name))

    def change_threads(self, chromium):
        self.open_agent(chromium)
        chromium.click(chromium.find('input[name=template][value^="posternInternetAgent-POP3"]'))
        chromium.type(chromium.find("#new_values_posternpop3threads_0"), "7")
        self.picture(chromium, "internet-agent.png", "#ajBODY")
        chromium.click(chromium.find("#entry_form input[type=submit]"))
        chromium.click(chromium.find("#update_form input[type=submit]"))
        poll(lambda: re.search(r"posternPop3Threads +7 ", self.ctl("config")), what="7 POP3 threads")

    def create_link(self, chromium):
        self.open_agent(chromium)
        chromium.click(chromium.find('input[name=template][value^="posternInternetAgent-General"]'))
        chromium.click(chromium.link("Create a child entry"))
        chromium.click(chromium.find('input[name=template][value^="posternPostOfficeLink"]'))
        chromium.type(chromium.find("#new_values_cn_0"), "Sales through its agent")
        chromium.choose("#new_values_posternpostoffice_0", self.office("Sales"))
        chromium.choose("#new_values_posternaccessmode_0", "clientServer")
        chromium.type(chromium.find("#new_values_posternhost_0"), "127.0.0.1")
        chromium.type(chromium.find("#new_values_posternport_0"), "9")
        self.site.imap_client("bob").logout()
        # a post office has one link
        self.site.ldap("ldapdelete", f"cn=Sales link,{self.site.agent_dn}")
        self.picture(chromium, "post-office-link.png", "#ajBODY")
        chromium.click(chromium.find("#entry_form input[type=submit]"))
        chromium.click(chromium.find("#create_form input[type=submit]"))
        poll(lambda: self.link("Sales")["port"] == "9" and self.link("Sales")["mode"] == "clientServer", what="the new link")
        poll(lambda: self.imap_refused("bob"), what="a refusal: nothing listens at the port of the link")
        self.site.ldap("ldapdelete", f"cn=Sales through its agent,{self.site.agent_dn}")
        self.site.ldap("ldapadd", text=f"dn: cn=Sales link,{self.site.agent_dn}\nobjectClass: posternPostOfficeLink\ncn: Sales link\n"
                                       f"posternPostOffice: {self.office('Sales')}\n\n")
        poll(lambda: not self.imap_refused("bob"), what="direct access")


@unittest.skipUnless(harness.FULL, "only with --full")
@unittest.skipUnless(directory.have("ns-slapd", "dscreate"), "389 Directory Server is not installed")
@unittest.skipIf(phpldapadmin.missing(), f"{phpldapadmin.missing()} is not installed")
class With389(unittest.TestCase):
    """The same forms for a 389 Directory Server, whose entries name all superior classes."""

    def entry(self, dn):
        return sorted(self.server.search("-b", dn, "-s", "base").splitlines())

    def test_forms(self):
        self.server = directory.Ns389()
        self.addCleanup(self.server.close)
        for tool, text in (("ldapmodify", open(directory.schema_file("postern-389ds.ldif")).read()), ("ldapadd", ENTRIES),
                           ("ldapmodify", directory.filled("aci-389ds.ldif", SUFFIX=SUFFIX, GATEWAY=GATEWAY, ADMINS=ADMINS))):
            done = self.server.ldap(tool, text=text)
            self.assertEqual(done[0], 0, done[1])
        self.server.write("env", f"POSTERN_LDAP_URI={self.server.uri}\nPOSTERN_SUFFIX={SUFFIX}\nPOSTERN_ADMIN_DN='{ADMIN}'\nPOSTERN_ADMIN_PASSWORD=\n")
        pages = phpldapadmin.Server(self.server)
        self.addCleanup(pages.close)
        console = phpldapadmin.Console(pages)
        console.login(ADMIN, directory.PASSWORD)
        agent = f"cn=Agent,{SUFFIX}"
        self.assertEqual(console.change(agent, "Postern: Internet Agent, POP3", posternPop3Threads="3"), {"posternpop3threads"})
        self.assertIn("posternPop3Threads: 3", self.entry(agent))
        console.create(agent, "Postern: Post Office Link", {"cn": "New", "posternPostOffice": f"cn=Office,{SUFFIX}", "posternAccessMode": "direct"})
        self.assertIn("posternAccessMode: direct", self.entry(f"cn=New,{agent}"))
        before = self.entry(ALICE)
        console.change(ALICE, "Postern: Mail User", posternQuota="5")
        self.assertEqual(set(before) ^ set(self.entry(ALICE)), {"posternQuota: 1000000", "posternQuota: 5"})


if __name__ == "__main__":
    if SCREENSHOTS:
        at = sys.argv.index("--screenshots")
        del sys.argv[at:at + 2]
    harness.main()
