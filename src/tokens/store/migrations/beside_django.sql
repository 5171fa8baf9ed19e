CREATE TABLE IF NOT EXISTS destrier_refresh_tokens (
    jti TEXT PRIMARY KEY,
    family TEXT NOT NULL,
    user_id BIGINT,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    spent_at_ms BIGINT,
    successor TEXT,
    successor_access TEXT
);
CREATE INDEX IF NOT EXISTS destrier_refresh_tokens_of_a_family ON destrier_refresh_tokens (family);
CREATE INDEX IF NOT EXISTS destrier_refresh_tokens_by_expiry ON destrier_refresh_tokens (expires_at);
