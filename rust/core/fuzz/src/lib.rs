//! What the targets share: the types of the wire once more, written from its description for the crates' own decoders, and a broker
//! to talk to.

pub mod broker;
pub mod naive;
pub mod plain;

/// A defect on purpose (feature `planted`): a message with this sequence is one too many. No input of the corpus has it.
pub const PLANTED: u64 = 119;
