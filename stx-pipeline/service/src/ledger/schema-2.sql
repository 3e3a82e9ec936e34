-- Version 2: the number of stored reasons is limited; further reasons are counted.
ALTER TABLE requests ADD COLUMN more_reasons INTEGER NOT NULL DEFAULT 0;
