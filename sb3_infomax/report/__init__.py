"""Reports of stored runs: statistics with intervals, pictures, tables and a page. Nothing heavy is imported here."""
