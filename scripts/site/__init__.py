"""The documentation as a site: what MkDocs is helped with, and pages that are made from the code. Not installed."""
