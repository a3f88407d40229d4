/* templates: the forms of phpLDAPadmin, from the tables; as files. */
#ifndef SCHEMA_TEMPLATES_H
#define SCHEMA_TEMPLATES_H

/* Writes DIR/creation and DIR/modification. Returns the exit code. */
int templates_write(const char *dir);

#endif
