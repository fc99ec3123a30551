-- description: Due flashcards are found without reading all of them
--
-- Every session starts with "which visible cards of this direction are due, the longest waiting first". `state`
-- comes last, so that the counts of new and due cards are read from the index alone.

CREATE INDEX flashcards_due ON flashcards (is_hidden, direction, due, state);
