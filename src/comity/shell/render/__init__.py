"""How things look in words: names of records, digests, times, tables, progress. Pure but for `talk`, which writes to a terminal."""
