# Unit tests of src/sasl.
