-- description: Every review ever made, and the totals that follow from it
--
-- FSRS fits its parameters to this history. The totals are kept by a trigger, so that they cannot disagree
-- with the log whichever client writes it. Days are UTC days since 1970.

CREATE TABLE revlog (
  id TEXT NOT NULL PRIMARY KEY,
  flashcard_id TEXT NOT NULL REFERENCES flashcards (id) ON DELETE CASCADE,
  rating INTEGER NOT NULL CHECK (rating BETWEEN 1 AND 4), -- again, hard, good, easy
  state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 3), -- of the card before this review
  due INTEGER NOT NULL,
  stability REAL NOT NULL,
  difficulty REAL NOT NULL,
  elapsed_days INTEGER NOT NULL,
  scheduled_days INTEGER NOT NULL,
  reviewed_at INTEGER NOT NULL,
  duration_ms INTEGER NOT NULL DEFAULT 0
);

CREATE INDEX revlog_flashcard ON revlog (flashcard_id, reviewed_at);

CREATE TABLE review_days (
  day INTEGER PRIMARY KEY,
  reviews INTEGER NOT NULL DEFAULT 0,
  new_cards INTEGER NOT NULL DEFAULT 0
);

CREATE TRIGGER revlog_added AFTER INSERT ON revlog
BEGIN
  INSERT INTO review_days (day)
  SELECT NEW.reviewed_at / 86400000
  WHERE NOT EXISTS (SELECT 1 FROM review_days WHERE day = NEW.reviewed_at / 86400000);

  UPDATE review_days
  SET reviews = reviews + 1,
      new_cards = new_cards + CASE WHEN NEW.state = 0 THEN 1 ELSE 0 END
  WHERE day = NEW.reviewed_at / 86400000;

  UPDATE user_stats
  SET total_reviews = total_reviews + 1,
      last_review_at = max(coalesce(last_review_at, 0), NEW.reviewed_at),
      updated_at = max(updated_at, NEW.reviewed_at)
  WHERE id = 1;
END;
