# Archive of src/smtp.
