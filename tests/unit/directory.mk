# Unit tests of src/directory.
