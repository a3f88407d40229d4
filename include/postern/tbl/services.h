/* X(NAME, "word", "title") */
X(POP3, "pop3", "POP3")
X(IMAP4, "imap4", "IMAP4")
X(SMTP, "smtp", "SMTP")
