"""Published models: the catalog and downloads."""
