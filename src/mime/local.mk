# Archive of src/mime.
