# Unit tests of src/mime.
