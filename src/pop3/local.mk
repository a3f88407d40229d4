# Archive of src/pop3.
