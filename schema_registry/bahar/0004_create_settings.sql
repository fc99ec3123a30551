-- description: The learner's settings, one row that is always there
--
-- One row with typed columns instead of keys and values: a wrong value is refused, and reading needs no fallback.
-- `updated_at` 0 means that nobody has changed the defaults, so any device's change is newer.

CREATE TABLE settings (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  show_reverse_flashcards INTEGER NOT NULL DEFAULT 0 CHECK (show_reverse_flashcards IN (0, 1)),
  show_transliteration INTEGER NOT NULL DEFAULT 1 CHECK (show_transliteration IN (0, 1)),
  new_cards_per_day INTEGER NOT NULL DEFAULT 10 CHECK (new_cards_per_day >= 0),
  reviews_per_day INTEGER NOT NULL DEFAULT 100 CHECK (reviews_per_day >= 0),
  desired_retention REAL NOT NULL DEFAULT 0.9 CHECK (desired_retention > 0 AND desired_retention < 1),
  updated_at INTEGER NOT NULL DEFAULT 0
);

INSERT INTO settings (id) VALUES (1);
