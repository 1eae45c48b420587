-- Categories that are inserted can close a cycle as well: one below itself, or several of a statement
-- together. After the rows are there: each sees the others then, and those that ON CONFLICT leaves out,
-- as when the taxonomy is seeded again, are not asked.

CREATE TRIGGER categories_begin_in_a_forest AFTER INSERT ON categories
FOR EACH ROW WHEN (NEW.parent_id IS NOT NULL) EXECUTE FUNCTION categories_stay_a_forest();
