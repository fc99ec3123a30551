-- description: Two flashcards an entry, with what FSRS needs to schedule them
--
-- Forward asks for the meaning of the word, reverse for the word; they are learnt apart, so each has its own
-- schedule. A card means nothing without its entry and goes with it.

CREATE TABLE flashcards (
  id TEXT NOT NULL PRIMARY KEY,
  dictionary_entry_id TEXT NOT NULL REFERENCES dictionary_entries (id) ON DELETE CASCADE,
  direction TEXT NOT NULL CHECK (direction IN ('forward', 'reverse')),
  due INTEGER NOT NULL,
  stability REAL NOT NULL DEFAULT 0,
  difficulty REAL NOT NULL DEFAULT 0,
  elapsed_days INTEGER NOT NULL DEFAULT 0,
  scheduled_days INTEGER NOT NULL DEFAULT 0,
  learning_steps INTEGER NOT NULL DEFAULT 0,
  reps INTEGER NOT NULL DEFAULT 0,
  lapses INTEGER NOT NULL DEFAULT 0,
  state INTEGER NOT NULL DEFAULT 0 CHECK (state BETWEEN 0 AND 3), -- new, learning, review, relearning
  last_review INTEGER,
  is_hidden INTEGER NOT NULL DEFAULT 0 CHECK (is_hidden IN (0, 1)),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  UNIQUE (dictionary_entry_id, direction)
);
