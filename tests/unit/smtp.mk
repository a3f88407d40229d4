# Unit tests of src/smtp.
