# Archive of src/imap.
