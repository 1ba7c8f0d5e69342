"""One verb with files around it a module: from a manifest to a folder, a table or a report."""
