# Archive of src/directory.
