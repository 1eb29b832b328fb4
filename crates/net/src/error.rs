//! What goes wrong between us and the other side, in the words that Go's `net/http` uses where people
//! and scripts see them (`lastError` of a target, log lines).

/// Why a client could not be built, or a request got no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The configuration cannot be used: a certificate, a file, a URL.
    #[error("{0}")]
    Config(String),
    /// A secret's file could not be read.
    #[error("{0}")]
    Secret(String),
    /// The request failed: name resolution, connection, TLS, protocol.
    #[error("{method} {url:?}: {reason}")]
    Request {
        /// `Get`, `Post`, as Go writes it.
        method: String,
        /// URL without password.
        url: String,
        /// Cause.
        reason: String,
    },
    /// The time allowed is over.
    #[error("{method} {url:?}: context deadline exceeded")]
    Timeout {
        /// As above.
        method: String,
        /// As above.
        url: String,
    },
}

/// Why a response body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More bytes than the caller allows.
    #[error("body size limit exceeded")]
    TooLarge,
    /// More bytes than this server ever takes from one response.
    #[error(
        "body is larger than {limit_bytes} bytes, the most that this server takes; set body_size_limit to choose a limit"
    )]
    HardLimit {
        /// The limit in force.
        limit_bytes: u64,
    },
    /// All large bodies together need more memory than this server gives them.
    #[error("no memory for a body of more than {held_bytes} bytes: other large responses use it up")]
    NoMemory {
        /// Bytes that were read.
        held_bytes: u64,
    },
    /// Broken compression.
    #[error("{0}")]
    Encoding(String),
    /// The connection broke.
    #[error("{0}")]
    Read(String),
    /// The time allowed is over.
    #[error("context deadline exceeded")]
    Timeout,
}
