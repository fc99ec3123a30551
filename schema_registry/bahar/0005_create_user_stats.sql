-- description: The learner's streak and totals, one row that is always there
--
-- The home screen shows these on every start; counting all reviews for them would get slower every day.

CREATE TABLE user_stats (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  streak_days INTEGER NOT NULL DEFAULT 0 CHECK (streak_days >= 0),
  longest_streak_days INTEGER NOT NULL DEFAULT 0 CHECK (longest_streak_days >= 0),
  total_reviews INTEGER NOT NULL DEFAULT 0 CHECK (total_reviews >= 0),
  last_review_at INTEGER,
  updated_at INTEGER NOT NULL DEFAULT 0
);

INSERT INTO user_stats (id) VALUES (1);
