class Rows:
    """The columns of one batch. For Cython only: `records` fills it."""
