//! Who a peer is, as the kernel says it.

/// Credentials of connect time. `pid` is advice: it can be reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    pub gid: u32,
    pub pid: Option<u32>,
}

impl Peer {
    /// The uid this process acts as.
    pub fn own_uid() -> u32 {
        todo!()
    }
}
