"""The checks, one a file; see examiner/__init__.py."""
