/* forms: the schema for each kind of directory server, and manual pages, from the tables; on standard output. */
#ifndef SCHEMA_FORMS_H
#define SCHEMA_FORMS_H

/* form: openldap, openldap-upgrade (dn: of the schema's entry in that server; NULL: a guess), rfc4512, man or switches. Returns the exit code; 2: there is no
 * such form. */
int schema_print(const char *form, const char *dn);

#endif
