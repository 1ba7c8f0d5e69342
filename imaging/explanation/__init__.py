"""Where in a scan an adapter finds what it says."""
