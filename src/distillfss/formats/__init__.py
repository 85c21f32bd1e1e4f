"""Whole files of the formats people have: GeoTIFF, DICOM, TIFF stacks, videos and very large pictures, in and out."""
