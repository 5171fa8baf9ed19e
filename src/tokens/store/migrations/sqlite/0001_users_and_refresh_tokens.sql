-- Times are seconds since 1970, those that end in _ms milliseconds.

CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    username TEXT NOT NULL UNIQUE,
    -- A PHC string.
    password TEXT NOT NULL,
    is_active INTEGER NOT NULL DEFAULT 1,
    -- A JSON object: roles, groups and whatever else goes into the tokens.
    claims TEXT NOT NULL DEFAULT '{}',
    created_at INTEGER NOT NULL,
    last_login INTEGER
) STRICT;

-- No token stands here, so whoever reads the table can use none.
CREATE TABLE refresh_tokens (
    jti TEXT PRIMARY KEY,
    -- The jti of the first one: what came of one login.
    family TEXT NOT NULL,
    user_id INTEGER REFERENCES users (id) ON DELETE SET NULL,
    issued_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER,
    -- When it was used, and the jti of what was made of it.
    spent_at_ms INTEGER,
    successor TEXT,
    successor_access TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX refresh_tokens_of_a_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_of_a_user ON refresh_tokens (user_id);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);
