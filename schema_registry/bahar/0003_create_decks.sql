-- description: Decks, each a saved filter over the flashcards
--
-- A deck holds no cards: which cards it shows follows from its filter, so new entries appear in it by themselves.

CREATE TABLE decks (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL CHECK (name <> ''),
  filters TEXT NOT NULL DEFAULT '{}', -- JSON object: tags, types, states
  position INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
);

CREATE INDEX decks_position ON decks (position);
