EXTRA_DIST += contrib/quickstart contrib/check contrib/install-packages contrib/fetch-corpus contrib/packages contrib/sample/organisation.ldif
EXTRA_DIST += contrib/dovecot.conf
