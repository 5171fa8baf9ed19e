//! What applications do with WebSockets, and tokens.
