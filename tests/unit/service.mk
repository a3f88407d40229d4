# Unit tests of src/service.
