//! What bounds connections, and is counted where it does.

/// What has made connections wait, or ended them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionLimit {
    /// The worker has as many as it may: new ones wait.
    Connections,
    /// Descriptors or memory are lacking: new ones wait.
    Descriptors,
    /// Their address has as many as it may: they are closed.
    ConnectionsPerAddress,
    /// Their clients take nothing of an answer: they are cut, or their streams reset.
    WriteTimeout,
}

impl ConnectionLimit {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Connections,
        Self::Descriptors,
        Self::ConnectionsPerAddress,
        Self::WriteTimeout,
    ];

    /// As a word of the scoreboard, which is 0 where there is none.
    pub(super) fn to_number(limit: Option<Self>) -> u64 {
        limit.map_or(0, |limit| limit as u64 + 1)
    }

    /// The other way round.
    pub(super) fn of_number(number: u64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|it| Self::to_number(Some(*it)) == number)
    }

    /// What monitoring calls it: its key, where it has one.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Connections => "http.max_connections",
            Self::Descriptors => "descriptors",
            Self::ConnectionsPerAddress => "http.max_connections_per_address",
            Self::WriteTimeout => "http.write_timeout",
        }
    }
}
