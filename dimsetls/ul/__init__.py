"""PS3.8, the DICOM Upper Layer, as a pure core: bytes and calls go in, effects come out. No I/O, no clock."""
