-- The same tables and columns as in SQLite. Times are seconds since 1970, those that end in _ms milliseconds.

CREATE TABLE users (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username TEXT NOT NULL UNIQUE,
    -- A PHC string.
    password TEXT NOT NULL,
    is_active BOOLEAN NOT NULL DEFAULT TRUE,
    -- A JSON object: roles, groups and whatever else goes into the tokens. As text, for its members have an order.
    claims TEXT NOT NULL DEFAULT '{}',
    created_at BIGINT NOT NULL,
    last_login BIGINT
);

-- No token stands here, so whoever reads the table can use none.
CREATE TABLE refresh_tokens (
    jti TEXT PRIMARY KEY,
    -- The jti of the first one: what came of one login.
    family TEXT NOT NULL,
    user_id BIGINT REFERENCES users (id) ON DELETE SET NULL,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    -- When it was used, and the jti of what was made of it.
    spent_at_ms BIGINT,
    successor TEXT,
    successor_access TEXT
);

CREATE INDEX refresh_tokens_of_a_family ON refresh_tokens (family);
CREATE INDEX refresh_tokens_of_a_user ON refresh_tokens (user_id);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);
