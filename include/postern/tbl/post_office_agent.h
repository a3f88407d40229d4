/* The settings of posternPostOfficeAgent. Kinds as in agent.h. */
TEXT(host, "posternHost", "Host of the server that serves the post office.")
NUMBER(port, "posternPort", 143, 1, 65535, "IMAP port.")
NUMBER(lmtp_port, "posternLmtpPort", 24, 1, 65535, "LMTP port.")
WORD(tls, "posternTls", tls_mode, TLS_ENABLED, "TLS towards the server.")
