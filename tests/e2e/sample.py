"""An entry of each class, and who is who, for tests of schema and access rules."""
from directory import PASSWORD, SUFFIX

GATEWAY = f"cn=gateway,{SUFFIX}"
ADMINS = f"cn=mail admins,{SUFFIX}"
ADMIN = f"cn=postmaster,{SUFFIX}"
ALICE = f"uid=alice,{SUFFIX}"
ENTRIES = f"""dn: {GATEWAY}
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: gateway
userPassword: {PASSWORD}

dn: {ADMIN}
objectClass: applicationProcess
objectClass: simpleSecurityObject
cn: postmaster
userPassword: {PASSWORD}

dn: {ADMINS}
objectClass: groupOfNames
cn: mail admins
member: {ADMIN}

dn: cn=Agent,{SUFFIX}
objectClass: posternInternetAgent
cn: Agent
posternPop3Enabled: TRUE
posternPop3Threads: 10
posternPop3Tls: required
posternPostOffice: cn=Office,{SUFFIX}

dn: cn=Office,{SUFFIX}
objectClass: posternPostOffice
cn: Office
posternDomain: example.org
posternPath: /srv/mail/office

dn: cn=POA,cn=Office,{SUFFIX}
objectClass: posternPostOfficeAgent
cn: POA
posternHost: poa.example.org
posternPort: 143

dn: cn=Link,cn=Agent,{SUFFIX}
objectClass: posternPostOfficeLink
cn: Link
posternPostOffice: cn=Office,{SUFFIX}
posternAccessMode: current

dn: cn=Class,cn=Agent,{SUFFIX}
objectClass: posternClassOfService
cn: Class
posternPop3Access: prevent
posternMember: {ALICE}
posternMember: example.net

dn: {ALICE}
objectClass: inetOrgPerson
objectClass: posternMailUser
uid: alice
cn: Alice
sn: Example
mail: alice@example.org
posternMailAlias: a@example.org
posternMailAlias: b@example.org
posternPostOffice: cn=Office,{SUFFIX}
posternExpirationTime: 20301231235959Z
posternQuota: 1000000
userPassword: {PASSWORD}

dn: cn=list,{SUFFIX}
objectClass: groupOfNames
objectClass: posternDistributionList
cn: list
member: {ALICE}
mail: list@example.org
posternMailAlias: l@example.org

dn: cn=host,cn=Agent,{SUFFIX}
objectClass: posternAgentStatus
cn: host
posternVersion: 1
posternStartTime: 20261231235959Z
"""
