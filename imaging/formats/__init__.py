"""Files of scans: one reader a format, which way scans are turned, and what is written beside them."""
