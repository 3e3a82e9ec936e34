-- Version 2: reasons are bounded, and the rest of them is counted.
ALTER TABLE requests ADD COLUMN more_reasons INTEGER NOT NULL DEFAULT 0;
