# Archive of src/store.
