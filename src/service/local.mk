# Archive of src/service.
