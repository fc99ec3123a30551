-- description: Plurals, gender, verb forms and examples
--
-- A noun is learnt with its plural and a verb with its conjugation. They differ too much by word to be columns
-- each, so what varies is JSON.

ALTER TABLE dictionary_entries ADD COLUMN plural TEXT;
ALTER TABLE dictionary_entries ADD COLUMN gender TEXT; -- masculine or feminine
ALTER TABLE dictionary_entries ADD COLUMN verb_forms TEXT; -- JSON object: past, present, imperative, masdar
ALTER TABLE dictionary_entries ADD COLUMN examples TEXT; -- JSON array of {"text", "translation"}
