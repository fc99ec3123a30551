-- description: Entries are checked by the database
-- foreign_keys: off
--
-- Early clients wrote types of their own and tags that were no JSON, and every reader had to guard against
-- both. SQLite cannot add a CHECK to a table, so the table is rebuilt; flashcards reference it, hence the line
-- above. No entry is lost: what the checks would refuse is set to the nearest value that they take.

CREATE TABLE dictionary_entries_new (
  id TEXT NOT NULL PRIMARY KEY,
  word TEXT NOT NULL,
  translation TEXT NOT NULL,
  transliteration TEXT,
  root TEXT, -- its letters, e.g. كتب
  type TEXT NOT NULL CHECK (type IN ('noun', 'verb', 'harf', 'expression')),
  definition TEXT,
  tags TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(tags)), -- JSON array of strings
  plural TEXT,
  gender TEXT CHECK (gender IN ('masculine', 'feminine')),
  -- Said twice, since json_valid(NULL) is 0 on some versions of SQLite and NULL on others.
  verb_forms TEXT CHECK (verb_forms IS NULL OR json_valid(verb_forms)), -- JSON object: past, present, imperative, masdar
  examples TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(examples)), -- JSON array of {"text", "translation"}
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);

INSERT INTO dictionary_entries_new (
  id, word, translation, transliteration, root, type, definition, tags, plural, gender, verb_forms, examples,
  created_at, updated_at
)
SELECT
  id, word, translation, transliteration, root,
  CASE WHEN lower(type) IN ('noun', 'verb', 'harf', 'expression') THEN lower(type) ELSE 'expression' END,
  definition,
  CASE WHEN json_valid(tags) THEN tags ELSE '[]' END,
  plural,
  CASE WHEN lower(gender) IN ('masculine', 'feminine') THEN lower(gender) END,
  CASE WHEN json_valid(verb_forms) THEN verb_forms END,
  CASE WHEN json_valid(examples) THEN examples ELSE '[]' END,
  created_at, updated_at
FROM dictionary_entries;

DROP TABLE dictionary_entries;
ALTER TABLE dictionary_entries_new RENAME TO dictionary_entries;

CREATE INDEX dictionary_entries_word ON dictionary_entries (word);
CREATE INDEX dictionary_entries_root ON dictionary_entries (root);
