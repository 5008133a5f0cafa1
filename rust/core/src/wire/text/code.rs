//! The reason codes of `ERR`, and how they become errors of the caller and back.
use serde::{Deserialize, Serialize};

use super::ErrText;
use crate::error::{Error, PatternError, TopicError};
use crate::printable::printable;
use crate::topic::excerpt;

/// The reason codes of `ERR`: one for each [`Error`] kind that crosses the wire, and some of their own; lower_snake_case there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Connections are used up; later there may be room.
    Busy,
    /// This uid may not connect.
    NotPermitted,
    AuthenticationFailed,
    UnsupportedVersion,
    UnsupportedDialect,
    DisconnectedByOperator,
    /// Bytes against the protocol, other than the two next.
    Protocol,
    Decode,
    FrameTooLarge,
    HandshakeTimeout,
    FrameTimeout,
    PingTimeout,
    /// The queue of a connection that asked for `disconnect` was full.
    SlowConsumer,
    /// A refused publish: its topic.
    Topic,
    /// A refused publish: its topic does not take its type.
    MessageType,
    /// A refused publish: this client may not write there.
    Rights,
    /// A refused publish: too many at once.
    RateLimit,
    Pattern,
    SubscriptionRefused,
    UnknownSubscription,
    UnknownVerb,
    /// The broker is stopping.
    Shutdown,
    /// A code of a newer peer.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// As on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NotPermitted => "not_permitted",
            Self::AuthenticationFailed => "authentication_failed",
            Self::UnsupportedVersion => "unsupported_version",
            Self::UnsupportedDialect => "unsupported_dialect",
            Self::DisconnectedByOperator => "disconnected_by_operator",
            Self::Protocol => "protocol",
            Self::Decode => "decode",
            Self::FrameTooLarge => "frame_too_large",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::FrameTimeout => "frame_timeout",
            Self::PingTimeout => "ping_timeout",
            Self::SlowConsumer => "slow_consumer",
            Self::Topic => "topic",
            Self::MessageType => "message_type",
            Self::Rights => "rights",
            Self::RateLimit => "rate_limit",
            Self::Pattern => "pattern",
            Self::SubscriptionRefused => "subscription_refused",
            Self::UnknownSubscription => "unknown_subscription",
            Self::UnknownVerb => "unknown_verb",
            Self::Shutdown => "shutdown",
            Self::Unknown => "unknown",
        }
    }

    /// Whether it is the last text of a connection; the others are about one publish, subscription or verb.
    pub const fn ends_connection(self) -> bool {
        !matches!(
            self,
            Self::Topic
                | Self::MessageType
                | Self::Rights
                | Self::RateLimit
                | Self::Pattern
                | Self::SubscriptionRefused
                | Self::UnknownSubscription
                | Self::UnknownVerb
                | Self::Unknown
        )
    }

    /// After these the client does not dial again.
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::NotPermitted | Self::AuthenticationFailed | Self::UnsupportedVersion | Self::DisconnectedByOperator
        )
    }
}

/// The broker's own message says no more, so that nobody learns anything from it.
pub(super) const TOKEN_REJECTED: &str = "the broker did not take our token; give both sides the same one";

impl Error {
    /// The code that tells a peer; kinds that never leave their own process are [`Code::Unknown`].
    pub const fn code(&self) -> Code {
        match self {
            Self::BrokerBusy(_) => Code::Busy,
            Self::PermissionRefused { .. } => Code::NotPermitted,
            Self::AuthenticationFailed(_) => Code::AuthenticationFailed,
            Self::Protocol(_) | Self::Invalid { .. } => Code::Protocol,
            Self::Decode(_) => Code::Decode,
            Self::FrameTooLarge { .. } | Self::TextTooLarge { .. } => Code::FrameTooLarge,
            Self::Topic(_) => Code::Topic,
            Self::Pattern(_) => Code::Pattern,
            Self::SubscriptionRefused { .. } => Code::SubscriptionRefused,
            Self::SubscriptionClosed(_) => Code::UnknownSubscription,
            Self::PublishNotSupported(_) => Code::Rights,
            Self::ConnectionClosed(_)
            | Self::Lifecycle(_)
            | Self::ConnectionLost(_)
            | Self::ConnectTimeout { .. }
            | Self::BrokerAlreadyRunning { .. }
            | Self::PathRefused { .. }
            | Self::PublishTimeout(_)
            | Self::WouldBlock(_)
            | Self::ForkedProcess { .. }
            | Self::WrongLoop(_)
            | Self::NoMemory(_)
            | Self::Io { .. } => Code::Unknown,
        }
    }
}

impl From<&Error> for ErrText {
    fn from(error: &Error) -> Self {
        let mut err = Self::new(error.code(), error.to_string());
        match error {
            Error::Topic(TopicError { topic, kind }) => {
                err.message.clone_from(kind);
                err.topic = Some(topic.clone());
            }
            Error::Pattern(PatternError { pattern, kind }) => {
                err.message.clone_from(kind);
                err.topic = Some(pattern.clone());
            }
            Error::SubscriptionRefused { reason, limit } => {
                err.message.clone_from(reason);
                err.limit = (*limit != 0).then_some(*limit);
            }
            Error::FrameTooLarge { limit, .. } | Error::TextTooLarge { limit, .. } => {
                err.limit = u64::try_from(*limit).ok()
            }
            Error::BrokerBusy(text)
            | Error::Protocol(text)
            | Error::SubscriptionClosed(text)
            | Error::PublishNotSupported(text) => err.message.clone_from(text),
            Error::PermissionRefused { reason, topic, .. } => {
                err.message.clone_from(reason);
                err.topic.clone_from(topic);
            }
            _ => {}
        }
        err
    }
}

impl ErrText {
    /// What the caller is told, who acts as `own_uid`: that is whom the broker's kernel saw, and the broker refused. Kinds whose facts only
    /// the sender has keep them in the message, which is made fit to be shown.
    pub fn into_error(self, own_uid: u32) -> Error {
        let Self {
            code,
            message,
            topic,
            highest,
            limit,
            ..
        } = self;
        let message = printable(&message);
        let topic = topic.as_deref().map(excerpt);
        match code {
            Code::Busy | Code::RateLimit => Error::BrokerBusy(message),
            Code::NotPermitted | Code::Rights => Error::PermissionRefused {
                uid: own_uid,
                reason: message,
                topic,
            },
            Code::AuthenticationFailed => Error::AuthenticationFailed(TOKEN_REJECTED),
            Code::UnsupportedVersion => Error::Protocol(match highest {
                Some(highest) => {
                    format!("{message}; the highest protocol that the broker speaks is {highest}")
                }
                None => message,
            }),
            Code::Topic | Code::MessageType => Error::Topic(TopicError {
                topic: topic.unwrap_or_default(),
                kind: message,
            }),
            Code::Pattern => Error::Pattern(PatternError {
                pattern: topic.unwrap_or_default(),
                kind: message,
            }),
            Code::SubscriptionRefused => Error::SubscriptionRefused {
                reason: message,
                limit: limit.unwrap_or(0),
            },
            Code::UnknownSubscription => Error::SubscriptionClosed(message),
            Code::DisconnectedByOperator => Error::ConnectionLost(format!("disconnected by the operator: {message}")),
            Code::HandshakeTimeout | Code::FrameTimeout | Code::PingTimeout | Code::SlowConsumer | Code::Shutdown => {
                Error::ConnectionLost(message)
            }
            Code::UnsupportedDialect
            | Code::Protocol
            | Code::Decode
            | Code::FrameTooLarge
            | Code::UnknownVerb
            | Code::Unknown => Error::Protocol(message),
        }
    }
}
