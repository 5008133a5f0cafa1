//! Growing what others choose the size of. An allocation that fails ends the process, so whoever grows by what a peer sends, or with
//! traffic, asks here and can do without.

use std::hint::black_box;

use crate::error::{Error, Result};

/// Makes room for `bytes` more: for twice the whole, or where there is no memory for that for what is needed.
#[inline]
pub(crate) fn make_room(buf: &mut Vec<u8>, bytes: usize) -> Result<()> {
    if buf.capacity() - buf.len() < bytes && buf.try_reserve(bytes).is_err() {
        return buf.try_reserve_exact(bytes).map_err(|_| Error::NoMemory(bytes));
    }
    Ok(())
}

/// Appends `data`; without memory for it nothing changes.
#[inline]
pub(crate) fn append(buf: &mut Vec<u8>, data: &[u8]) -> Result<()> {
    make_room(buf, data.len())?;
    buf.extend_from_slice(data);
    Ok(())
}

/// Whether there are so many bytes now, in one piece: for what grows where nobody can refuse it.
pub(crate) fn is_there(bytes: usize) -> bool {
    let mut probe: Vec<u8> = Vec::new();
    let there = probe.try_reserve_exact(bytes).is_ok();
    // An allocation that nobody looks at may be left out, as one that succeeds.
    black_box(&probe);
    there
}
