# Unit tests of src/pop3.
