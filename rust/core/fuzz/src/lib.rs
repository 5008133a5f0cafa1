//! What the targets share: the types of the wire once more, written from its description for the crates' own decoders, and a broker
//! to talk to.

pub mod broker;
pub mod naive;
pub mod plain;

/// A defect on purpose (feature `planted`): messages whose sequence ends so are one too many. No input of the corpus has such.
pub fn is_planted(sequence: u64) -> bool {
    sequence & 15 == 7
}
