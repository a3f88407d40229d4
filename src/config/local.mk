# Archive of src/config.
