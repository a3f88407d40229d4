# Unit tests of src/imap.
