#!/usr/bin/env python3
"""The generated schema in real servers: loaded twice into a slapd and a 389 Directory Server, upgraded, used by entries, asked back and compared with what the
generator says; the manual names every attribute; servers with the first schema that was published, and entries, are brought to the present one."""
import os
import re
import sys

import directory
from directory import SUFFIX, Checks, Slapd, Ns389, schema_file
from sample import ALICE, ENTRIES

checks = Checks()
check = checks.check
# attribute, values: what the server itself refuses
BAD_VALUES = (
    (f"cn=Agent,{SUFFIX}", "posternPop3Enabled", "yes"), (f"cn=Agent,{SUFFIX}", "posternPop3Threads", "ten"),
    (f"cn=Agent,{SUFFIX}", "posternPostOffice", "not a name"), (ALICE, "posternExpirationTime", "tomorrow"),
)


def definitions(text):
    """(kind, number) -> (name, whether single) of every definition of our arc in a piece of LDIF."""
    text = re.sub(r"\n ", "", text)
    found = {}
    for number, name, rest in re.findall(r"\( (2\.25\.\d+\.[12]\.\d+) NAME '(\w+)'(.*)", text):
        found[number] = (name, "SINGLE-VALUE" in rest)
    return found


def modify(server, dn, text, **who):
    return server.ldap("ldapmodify", text=f"dn: {dn}\nchangetype: modify\n{text}\n", **who)


def check_entries(server, kind):
    code, said = server.ldap("ldapadd", text=ENTRIES)
    check(f"{kind}: entries of every class", code == 0, said)
    for dn, name, value in BAD_VALUES:
        code, said = modify(server, dn, f"replace: {name}\n{name}: {value}")
        check(f"{kind}: {name} {value} is refused", code == 21, said)
    code, said = modify(server, f"cn=Agent,{SUFFIX}", "replace: posternPop3Threads\nposternPop3Threads: 1\nposternPop3Threads: 2")
    check(f"{kind}: single value", code != 0, said)
    text = server.search("-b", SUFFIX, f"(posternMailAlias=B@Example.ORG)", "dn")
    check(f"{kind}: addresses without regard to case", ALICE in text, text)


def test_slapd():
    server = Slapd()
    try:
        path = schema_file("postern-openldap.ldif")
        wanted = definitions(open(path).read())
        code, said = server.ldap("ldapadd", "-f", path, user=server.config_admin)
        check("slapd: schema", code == 0, said)
        code, said = server.ldap("ldapadd", "-f", path, user=server.config_admin)
        check("slapd: a second load is refused and harmless", code == 80, said)
        code, said = server.ldap("ldapadd", text=f"dn: {SUFFIX}\nobjectClass: domain\ndc: example\n")
        check("slapd: suffix", code == 0, said)
        check_entries(server, "slapd")
        dn = server.schema_dn()
        check("slapd: its DN", dn is not None, dn)
        upgrade = re.sub(r"^dn: .*$", f"dn: {dn}", open(schema_file("postern-openldap-upgrade.ldif")).read(), count=1, flags=re.M)
        for run in ("first", "second"):
            code, said = server.ldap("ldapmodify", text=upgrade, user=server.config_admin)
            check(f"slapd: {run} upgrade while in use", code == 0, said)
        server.stop()
        server.start()
        got = definitions(server.search("-b", "cn=Subschema", "-s", "base", "attributeTypes", "objectClasses"))
        check("slapd: every definition is there after a restart", got == wanted, set(got.items()) ^ set(wanted.items()))
    finally:
        server.close()


def test_389():
    server = Ns389()
    try:
        path = schema_file("postern-389ds.ldif")
        wanted = definitions(open(path).read())
        for run in ("first", "second"):
            code, said = server.ldap("ldapmodify", "-f", path)
            check(f"389-ds: {run} load", code == 0, said)
        check_entries(server, "389-ds")
        code, said = server.ldap("ldapmodify", "-f", path)
        check("389-ds: load while in use", code == 0, said)
        server.stop()
        server.start()
        got = definitions(server.search("-b", "cn=schema", "-s", "base", "attributeTypes", "objectClasses"))
        check("389-ds: every definition is there after a restart", got == wanted, set(got.items()) ^ set(wanted.items()))
    finally:
        server.close()


def first_schema():
    """(for cn=schema, for OpenLDAP)"""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "schema-first.ldif")) as file:
        text = file.read()
    openldap = "dn: cn=postern,cn=schema,cn=config\nobjectClass: olcSchemaConfig\ncn: postern\n"
    for name, here in (("attributeTypes", "olcAttributeTypes"), ("objectClasses", "olcObjectClasses")):
        openldap += "".join(f"{here}{value}\n" for value in re.findall(rf"^{name}(: \(.*)$", text, re.M))
    return text, openldap


def entries(server):
    """All that is below the suffix, without what the server itself keeps."""
    return sorted(tuple(sorted(entry.splitlines())) for entry in server.search("-b", SUFFIX).strip().split("\n\n"))


def check_upgrade(server, kind, upgrade, wanted, schema_base, user=None):
    code, said = server.ldap("ldapadd", text=ENTRIES)
    check(f"{kind}: entries under the first schema", code == 0, said)
    two = f"replace: posternHost\nposternHost: one.example.org\nposternHost: two.example.org"
    code, said = modify(server, f"cn=POA,cn=Office,{SUFFIX}", two)
    check(f"{kind}: the first schema has one host", code != 0, said)
    before = entries(server)
    check(f"{kind}: the entries are seen", len(before) > 8, before)
    for run in ("first", "second"):
        code, said = server.ldap("ldapmodify", text=upgrade, user=user)
        check(f"{kind}: {run} upgrade from the first schema", code == 0, said)
        check(f"{kind}: no entry changes by the {run} upgrade", entries(server) == before)
    server.stop()
    server.start()
    got = definitions(server.search("-b", schema_base, "-s", "base", "attributeTypes", "objectClasses"))
    check(f"{kind}: the present definitions after the upgrade and a restart", got == wanted, set(got.items()) ^ set(wanted.items()))
    check(f"{kind}: no entry changes by the restart", entries(server) == before)
    code, said = modify(server, f"cn=POA,cn=Office,{SUFFIX}", two)
    check(f"{kind}: two hosts after the upgrade", code == 0, said)
    code, said = modify(server, f"cn=POA,cn=Office,{SUFFIX}", "replace: posternPoaLogin\nposternPoaLogin: masterUser")
    check(f"{kind}: an attribute that is new", code == 0, said)


def test_slapd_upgrade():
    server = Slapd()
    try:
        code, said = server.ldap("ldapadd", text=first_schema()[1], user=server.config_admin)
        check("slapd: the first schema", code == 0, said)
        server.ldap("ldapadd", text=f"dn: {SUFFIX}\nobjectClass: domain\ndc: example\n")
        upgrade = re.sub(r"^dn: .*$", f"dn: {server.schema_dn()}", open(schema_file("postern-openldap-upgrade.ldif")).read(), count=1, flags=re.M)
        check_upgrade(server, "slapd", upgrade, definitions(open(schema_file("postern-openldap.ldif")).read()), "cn=Subschema", server.config_admin)
    finally:
        server.close()


def test_389_upgrade():
    server = Ns389()
    try:
        code, said = server.ldap("ldapmodify", text=first_schema()[0])
        check("389-ds: the first schema", code == 0, said)
        upgrade = open(schema_file("postern-389ds.ldif")).read()
        check_upgrade(server, "389-ds", upgrade, definitions(upgrade), "cn=schema")
    finally:
        server.close()


def test_forms():
    """One table: program, schema files and manual say the same."""
    openldap = definitions(open(schema_file("postern-openldap.ldif")).read())
    check("some definitions", len(openldap) > 80, len(openldap))
    for name in ("postern-openldap-upgrade.ldif", "postern-389ds.ldif"):
        check(f"{name} has the same", definitions(open(schema_file(name)).read()) == openldap)
    manual = open(schema_file("postern-schema.5")).read()
    missing = [name for name, _ in openldap.values() if not re.search(rf"^\.(B|SH) {name}$", manual, re.M)]
    check("the manual names all", not missing, missing)
    numbers = dict((name, number) for number, (name, _) in openldap.items())
    check("numbers that are fixed", numbers["posternPop3Enabled"].endswith(".1.1") and numbers["posternInternetAgent"].endswith(".2.1"))
    with open(f"{directory.SOURCE}/include/postern/tbl/schema_numbers.h") as file:
        table = re.findall(r'^(ATTRIBUTE|CLASS)\((\d+), "(\w+)"\)', file.read(), re.M)
    check("no number or name twice", len({(kind, number) for kind, number, _ in table}) == len(table) == len({(kind, name) for kind, _, name in table}))
    filter_names = re.search(r"to filter=\(\|(.*)\)$", open(schema_file("acl-openldap.ldif")).read(), re.M).group(1)
    check("the access rules name classes that exist", all(name in numbers for name in re.findall(r"objectClass=(\w+)", filter_names)))


def main():
    if not directory.have("slapd", "ldapadd"):
        sys.exit("slapd and ldap-utils are needed")
    test_forms()
    test_slapd()
    test_slapd_upgrade()
    if directory.have("ns-slapd", "dscreate"):
        test_389()
        test_389_upgrade()
    else:
        print("SKIP 389 Directory Server is not installed")
    checks.end()


main()
