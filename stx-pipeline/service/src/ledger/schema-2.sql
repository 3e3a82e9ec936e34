-- Version 2: the number of reasons that are stored is limited; the others are counted.
ALTER TABLE requests ADD COLUMN more_reasons INTEGER NOT NULL DEFAULT 0;
