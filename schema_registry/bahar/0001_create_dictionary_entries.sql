-- description: The words and expressions that a learner collects
--
-- Everything else hangs on an entry. Ids are made by the device, so that entries can be added offline; times
-- are milliseconds since 1970 and come from the device too. JSON columns hold what is shown but never joined.

CREATE TABLE dictionary_entries (
  id TEXT NOT NULL PRIMARY KEY,
  word TEXT NOT NULL,
  translation TEXT NOT NULL,
  transliteration TEXT,
  root TEXT, -- its letters, e.g. كتب
  type TEXT, -- noun, verb, harf (particle) or expression
  definition TEXT,
  tags TEXT, -- JSON array of strings
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);

CREATE INDEX dictionary_entries_word ON dictionary_entries (word);
CREATE INDEX dictionary_entries_root ON dictionary_entries (root);
