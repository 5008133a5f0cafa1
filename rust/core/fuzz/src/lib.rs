//! What the targets share: the types of the wire once more, written from its description for the crates' own decoders, and a broker
//! to talk to.

pub mod broker;
pub mod naive;
pub mod plain;
